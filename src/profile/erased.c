/*
 * erased.c: ids of people who were erased. HOT: asked once per event, of every id its caller gave.
 *
 * It may not write or take a lock. While nobody was erased the answer costs one comparison; after that an id that was asked before
 * costs one look into memory.
 *
 * Words: a tombstone is the salted hash of an id in eventmkt_data.erased; the salt is the setting `erasure_salt`.
 *
 * Rules
 * 1. Only "was not erased" is kept, by the 64-bit hash of the id; it is forgotten whole when the table changes (relcache invalidation
 *    sent by its statement trigger) or when it is full.
 * 2. The table is read with the latest snapshot; what was read while an invalidation arrived (`generation` moved) is not kept.
 */
#include "postgres.h"

#include "base/base.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_LIVING	65536

typedef struct LivingId
{
	uint64		hash;
	char		status;
} LivingId;

#define SH_PREFIX			living
#define SH_ELEMENT_TYPE		LivingId
#define SH_KEY_TYPE			uint64
#define SH_KEY				hash
#define SH_HASH_KEY(tb, k)	((uint32) (k))
#define SH_EQUAL(tb, a, b)	((a) == (b))
#define SH_SCOPE			static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define HASH_OF_ID \
	"pg_catalog.sha256(pg_catalog.convert_to((SELECT s.value FROM eventmkt_data.setting s WHERE s.key " \
	"OPERATOR(pg_catalog.=) 'erasure_salt') OPERATOR(pg_catalog.||) $1, pg_catalog.getdatabaseencoding()))"

static living_hash *living = NULL;
static Oid	erased_relid = InvalidOid;
static bool stale = true;
static uint64 generation = 0;
static bool nobody = false;		/* no tombstone exists */

static EmkPlan any_plan = {
	"SELECT 1 FROM eventmkt_data.erased LIMIT 1", 0, {0}
};
static EmkPlan one_plan = {
	"SELECT 1 FROM eventmkt_data.erased e WHERE e.id_hash OPERATOR(pg_catalog.=) " HASH_OF_ID, 1, {TEXTOID}
};
static EmkPlan salt_plan = {
	"INSERT INTO eventmkt_data.setting (key, value) VALUES ('erasure_salt', pg_catalog.gen_random_uuid()::pg_catalog.text) "
	"ON CONFLICT (key) DO NOTHING", 0, {0}
};
static EmkPlan hash_plan = {
	"SELECT " HASH_OF_ID, 1, {TEXTOID}
};
static EmkPlan bury_plan = {
	"INSERT INTO eventmkt_data.erased (id_hash, log_id) VALUES ($1, $2) ON CONFLICT (id_hash) DO UPDATE SET log_id = EXCLUDED.log_id",
	2, {BYTEAOID, INT8OID}
};
static EmkPlan lift_plan = {
	"DELETE FROM eventmkt_data.erased e WHERE e.log_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT o.log_id FROM eventmkt_data.erased o "
	"WHERE o.id_hash OPERATOR(pg_catalog.=) $1))", 1, {BYTEAOID}
};

/* Relcache callback */
static void
mark_stale(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == erased_relid)
	{
		stale = true;
		generation++;
	}
}

void
emk_profile_init_erased(void)
{
	emk_base_on_relcache(mark_stale);
}

static void
start_over(void)
{
	uint64		seen;
	bool		none;

	/* tables of an older version, which nobody was erased from, have none of that name until init() is run */
	erased_relid = get_relname_relid("erased", get_namespace_oid("eventmkt_data", true));
	nobody = true;
	if (!OidIsValid(erased_relid))
		return;
	if (living == NULL)
		living = living_create(TopMemoryContext, 256, NULL);
	living_reset(living);
	nobody = false;
	seen = generation;
	SPI_connect();
	none = emk_spi_run_latest(&any_plan, NULL) == 0;
	SPI_finish();
	if (seen == generation)
	{
		nobody = none;
		stale = false;
	}
}

bool
emk_profile_is_erased(const char *id)
{
	uint64		hash;
	uint64		seen;
	Datum		arg;
	bool		found;

	if (unlikely(stale))
		start_over();
	if (likely(nobody))
		return false;
	hash = hash_bytes_extended((const unsigned char *) id, strlen(id), 0);
	if (living_lookup(living, hash) != NULL)
		return false;
	arg = CStringGetTextDatum(id);
	seen = generation;
	SPI_connect();
	found = emk_spi_run_latest(&one_plan, &arg) > 0;
	SPI_finish();
	pfree(DatumGetPointer(arg));
	if (!found && seen == generation && !stale)
	{
		bool		was;

		if (living->members >= MAX_LIVING)
			living_reset(living);
		living_insert(living, hash, &was);
	}
	return found;
}

Datum
emk_profile_hash_id(const char *id)
{
	Datum		arg = CStringGetTextDatum(id);
	bool		isnull;

	emk_spi_run(&salt_plan, NULL, NULL, false, 0);
	emk_spi_run_latest(&hash_plan, &arg);
	return emk_spi_datum(0, 1, &isnull);
}

void
emk_profile_bury(char **ids, int n, int64 log_id)
{
	for (int i = 0; i < n; i++)
	{
		Datum		args[2] = {emk_profile_hash_id(ids[i]), Int64GetDatum(log_id)};

		emk_spi_run(&bury_plan, args, NULL, false, 0);
	}
}

int64
emk_profile_unbury(const char *id)
{
	Datum		arg = emk_profile_hash_id(id);

	return (int64) emk_spi_run(&lift_plan, &arg, NULL, false, 0);
}
