/*
 * setting.c: the cached rows of eventmkt_data.setting, the identity of this database, and the settings (GUCs) that every
 * layer reads. Memory: one context below TopMemoryContext, thrown away whole at invalidation.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/base.h"
#include "base/base_int.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_SETTINGS 64

typedef struct Setting
{
	char	   *key;
	char	   *value;
} Setting;

char	   *emk_guc_instance = NULL;
bool		emk_guc_enabled = true;

static MemoryContext setting_context = NULL;
static Setting settings[MAX_SETTINGS];
static int	nsettings = 0;
static Oid	setting_relid = InvalidOid;	/* valid: the cache is filled */
static uint64 generation = 0;	/* moves with every invalidation */
static bool unsure = false;		/* filled in a parallel query, perhaps with an old snapshot: good for that query only */
static int	is_home = -1;				/* -1: not worked out since the last invalidation */
static int	node = -1;

static EmkPlan load_plan = {
	"SELECT key, value FROM eventmkt_data.setting", 0, {0}
};
static EmkPlan put_plan = {
	"INSERT INTO eventmkt_data.setting AS s (key, value) VALUES ($1, $2) "
	"ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = pg_catalog.now()", 2, {TEXTOID, TEXTOID}
};
static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.setting WHERE key OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};

static void
forget(Datum arg, Oid relid)
{
	/* while the cache is being filled its table is not known yet: any invalidation counts */
	if (relid == InvalidOid || relid == setting_relid || !OidIsValid(setting_relid))
	{
		setting_relid = InvalidOid;
		is_home = node = -1;
		generation++;
	}
}

static void
instance_changed(const char *value, void *extra)
{
	is_home = -1;
}

void
emk_base_init_setting(void)
{
	DefineCustomStringVariable("eventmkt.instance",
							   "Name of this installation; a copy whose name differs sends nothing until adopted.",
							   NULL, &emk_guc_instance, "", PGC_SIGHUP, 0, NULL, instance_changed, NULL);
	DefineCustomBoolVariable("eventmkt.enabled",
							 "Turns the workers of eventmkt on or off; events are still recorded while off.",
							 NULL, &emk_guc_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	emk_base_on_relcache(forget);
}

bool
emk_setting_initialized(void)
{
	Oid			nsp = get_namespace_oid("eventmkt_data", true);

	return OidIsValid(nsp) && OidIsValid(get_relname_relid("setting", nsp));
}

Oid
emk_setting_table(const char *relname)
{
	Oid			nsp = get_namespace_oid("eventmkt_data", true);
	Oid			rel = OidIsValid(nsp) ? get_relname_relid(relname, nsp) : InvalidOid;

	if (!OidIsValid(rel))
		ereport(ERROR,
				(errcode(ERRCODE_EMK_NOT_INITIALIZED),
				 errmsg("eventmkt has no tables in this database"),
				 errhint("Run SELECT eventmkt.init() as a superuser.")));
	return rel;
}

static void
read_rows(void)
{
	MemoryContextReset(setting_context);
	nsettings = 0;
	for (uint64 i = 0; i < SPI_processed && i < MAX_SETTINGS; i++)
	{
		MemoryContext old;
		char	   *k = emk_spi_text(i, 1);
		char	   *v = emk_spi_text(i, 2);

		old = MemoryContextSwitchTo(setting_context);
		settings[nsettings].key = pstrdup(k);
		settings[nsettings].value = pstrdup(v);
		nsettings++;
		MemoryContextSwitchTo(old);
	}
}

/*
 * Fills the cache; again when an invalidation came while it was read. Where they do not end, what was read last serves this call and is
 * not kept.
 */
static void
load(void)
{
	Oid			relid;
	EmkOwner	owner;
	uint64		seen;
	int			tries = 0;

	if (setting_context == NULL)
		setting_context = AllocSetContextCreate(TopMemoryContext, "eventmkt settings", ALLOCSET_SMALL_SIZES);
	emk_owner_enter(&owner);
	SPI_connect();
	do
	{
		seen = generation;
		relid = emk_setting_table("setting");
		emk_spi_run_latest(&load_plan, NULL);
		read_rows();
		SPI_freetuptable(SPI_tuptable);
	} while (seen != generation && ++tries < EMK_LOAD_TRIES);
	SPI_finish();
	emk_owner_leave(&owner);
	setting_relid = seen == generation ? relid : InvalidOid;
	unsure = IsInParallelMode();
}

/* A copy, because the next look may fill the cache anew */
char *
emk_setting_get(const char *key)
{
	if (!OidIsValid(setting_relid) || (unsure && !IsInParallelMode()))
		load();
	for (int i = 0; i < nsettings; i++)
		if (strcmp(settings[i].key, key) == 0)
			return pstrdup(settings[i].value);
	return NULL;
}

void
emk_setting_put(const char *key, const char *value)
{
	Datum		args[2] = {CStringGetTextDatum(key), value ? CStringGetTextDatum(value) : (Datum) 0};
	EmkOwner	owner;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_run(value ? &put_plan : &delete_plan, args, NULL, false, 0);
	SPI_finish();
	emk_owner_leave(&owner);
}

/* Is what was worked out since `seen` good for later calls? */
static bool
may_keep(uint64 seen)
{
	return OidIsValid(setting_relid) && !unsure && seen == generation;
}

bool
emk_setting_is_home(void)
{
	bool		home = is_home == 1;
	uint64		seen = generation;

	if (is_home < 0)
	{
		const char *sysid = emk_setting_get("system_identifier");
		const char *dboid = emk_setting_get("database_oid");
		const char *inst = emk_setting_get("instance");

		home = sysid != NULL && dboid != NULL &&
			strtoull(sysid, NULL, 10) == GetSystemIdentifier() &&
			strtoul(dboid, NULL, 10) == MyDatabaseId &&
			strcmp(inst ? inst : "", emk_guc_instance ? emk_guc_instance : "") == 0;
		if (may_keep(seen))
			is_home = home;
	}
	return home;
}

int64
emk_setting_next_id(Oid sequence)
{
	int64		n = nextval_internal(sequence, false);	/* raises in recovery, which has no timeline yet */

	return n + ((int64) ((GetWALInsertionTimeLine() - 1) & 1023) << 43);
}

int
emk_setting_node(void)
{
	int			mine = node;
	uint64		seen = generation;

	if (node < 0)
	{
		const char *s = emk_setting_get("node");

		mine = s ? atoi(s) & 1023 : 0;
		if (may_keep(seen))
			node = mine;
	}
	return mine;
}
