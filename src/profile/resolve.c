/*
 * resolve.c: the canonical id of an id. HOT: runs once per event.
 *
 * It may not write, take a lock that another caller could wait for, or read the alias table for an id it has seen since the
 * table last changed. test/bench (track against a bare prepared INSERT) guards it.
 *
 * Words: an entry is what the alias table says of one id, `canonical` NULL when it says nothing; the cache is dropped whole
 * when the table changes (relcache invalidation sent by its statement trigger) or when it is full. While the table is empty
 * no entry is made at all.
 *
 * Rules
 * 1. The callback only marks: what was handed out stays valid until the next call, which frees it.
 * 2. Look-ups use the latest snapshot at every isolation level, so an entry is never older than the invalidation that was
 *    last processed; what was looked up while an invalidation arrived (`generation` moved) is used once and not kept.
 */
#include "postgres.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define CACHE_MAX_ENTRIES	28000		/* fills 32,768 slots of 24 bytes */
#define CACHE_MAX_BYTES		(2500 * 1024)	/* of strings, as allocated */

typedef struct IdEntry
{
	const char *id;
	const char *canonical;		/* NULL: the id is no alias */
	uint32		hash;
	char		status;
} IdEntry;

#define SH_PREFIX			ids
#define SH_ELEMENT_TYPE		IdEntry
#define SH_KEY_TYPE			const char *
#define SH_KEY				id
#define SH_HASH_KEY(tb, k)	hash_bytes((const unsigned char *) (k), (int) strlen(k))
#define SH_EQUAL(tb, a, b)	(strcmp((a), (b)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, e)	((e)->hash)
#define SH_SCOPE			static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext cache_context = NULL;	/* below TopMemoryContext; holds the table and its strings */
static ids_hash *cache = NULL;
static Size cache_bytes = 0;
static Oid	alias_relid = InvalidOid;
static bool stale = true;		/* the cache is to be dropped at the next call */
static uint64 generation = 0;	/* moves with every invalidation */
static bool table_empty = false;	/* no alias exists: every id is canonical */

static EmkPlan one_plan = {
	"SELECT a.profile_id FROM eventmkt_data.alias a WHERE a.alias OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan many_plan = {
	"SELECT u.n, a.profile_id FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) (u.id COLLATE \"C\")", 1, {TEXTARRAYOID}
};
static EmkPlan any_plan = {
	"SELECT 1 FROM eventmkt_data.alias LIMIT 1", 0, {0}
};

/* Relcache callback: may run at any catalog access, so it frees nothing. */
static void
mark_stale(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == alias_relid)
	{
		stale = true;
		generation++;
	}
}

void
emk_profile_init_resolve(void)
{
	emk_base_on_relcache(mark_stale);
}

static void
clear_cache(void)
{
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "eventmkt ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(cache_context);
	cache = ids_create(cache_context, 256, NULL);
	cache_bytes = 0;
}

/* Drops the cache and asks once whether there is any alias at all. */
static void
start_over(void)
{
	uint64		seen;
	bool		empty;

	alias_relid = emk_setting_table("alias");
	table_empty = false;
	clear_cache();
	seen = generation;
	SPI_connect();
	empty = emk_spi_run_latest(&any_plan, NULL) == 0;
	SPI_finish();
	if (seen == generation)
	{
		table_empty = empty;
		stale = false;
	}
}

static char *
keep_string(const char *s)
{
	Size		len = strlen(s) + 1;
	char	   *copy = MemoryContextAlloc(cache_context, len);

	memcpy(copy, s, len);
	cache_bytes += GetMemoryChunkSpace(copy);
	return copy;
}

/* Adds what the table says of `id`; returns the cache's copy of `canonical`. */
static const char *
keep(const char *id, const char *canonical)
{
	IdEntry    *e;
	bool		found;

	if (cache->members >= CACHE_MAX_ENTRIES || cache_bytes >= CACHE_MAX_BYTES)
		clear_cache();
	id = keep_string(id);
	canonical = canonical ? keep_string(canonical) : NULL;
	e = ids_insert(cache, id, &found);
	e->canonical = canonical;
	return canonical;
}

/* A miss: one index probe. */
static const char *
look_up(const char *id)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		arg = CStringGetTextDatum(id);
	uint64		seen = generation;
	char	   *canonical = NULL;

	SPI_connect();
	if (emk_spi_run_latest(&one_plan, &arg) > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(caller);

		canonical = emk_spi_text(0, 1);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	pfree(DatumGetPointer(arg));
	if (seen == generation && !stale)
	{
		const char *kept = keep(id, canonical);

		return kept ? kept : id;
	}
	return canonical ? canonical : id;
}

const char *
emk_profile_resolve(const char *id)
{
	IdEntry    *e;

	if (unlikely(stale))
		start_over();
	if (table_empty)
		return id;
	e = ids_lookup(cache, id);
	if (likely(e != NULL))
		return e->canonical ? e->canonical : id;
	return look_up(id);
}

/* Fills canonical of the entries of `misses`, which are n different ids. */
static void
look_up_many(ids_hash *misses, const char **names, int n, MemoryContext caller)
{
	Datum	   *datums = palloc(sizeof(Datum) * n);
	Datum		arg;

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(names[i]);
	arg = emk_spi_array(datums, NULL, n, TEXTOID);
	SPI_connect();
	emk_spi_run_latest(&many_plan, &arg);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		IdEntry    *e = ids_lookup(misses, names[emk_spi_int8(row, 1, 0) - 1]);
		MemoryContext old = MemoryContextSwitchTo(caller);

		e->canonical = emk_spi_text(row, 2);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

void
emk_profile_resolve_many(const char **ids, const char **out, int n)
{
	ids_hash   *misses;
	const char **names;
	int			nmisses = 0;
	uint64		seen;

	if (stale)
		start_over();
	if (table_empty)
	{
		memcpy(out, ids, sizeof(char *) * n);
		return;
	}
	misses = ids_create(CurrentMemoryContext, 64, NULL);
	names = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		IdEntry    *e = ids_lookup(cache, ids[i]);
		bool		found;

		out[i] = e == NULL ? NULL : e->canonical ? pstrdup(e->canonical) : ids[i];
		if (e != NULL)
			continue;
		e = ids_insert(misses, ids[i], &found);
		if (!found)
		{
			e->canonical = NULL;
			names[nmisses++] = ids[i];
		}
	}
	seen = generation;
	if (nmisses > 0)
		look_up_many(misses, names, nmisses, CurrentMemoryContext);
	for (int i = 0; i < n; i++)
		if (out[i] == NULL)
		{
			const char *canonical = ids_lookup(misses, ids[i])->canonical;

			out[i] = canonical ? canonical : ids[i];
		}
	for (int i = 0; i < nmisses && seen == generation && !stale; i++)
		keep(names[i], ids_lookup(misses, names[i])->canonical);
	pfree(names);
	ids_destroy(misses);
}
