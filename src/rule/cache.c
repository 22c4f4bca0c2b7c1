/*
 * cache.c: rules by version, as the worker needs them. One memory context, left behind when a rule changes: what was handed
 * out stays valid to the end of the transaction, when contexts left behind are freed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/rule.h"
#include "rule/rule_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

typedef struct RuleKey
{
	int32		rule_id;
	int32		version;		/* 0: the current one */
} RuleKey;

typedef struct RuleEntry
{
	RuleKey		key;
	EmkRule    *rule;			/* NULL: there is none */
} RuleEntry;

static MemoryContext cache_context = NULL;
static HTAB *rules = NULL;
static Oid	rule_oid = InvalidOid;
static bool stale = true;

#define RULE_COLUMNS \
	"SELECT rule_id, version, name, current, enabled, on_event, where_event, where_profile, unless_where, at_least, " \
	"within, per, unless, look_back, after, on_repeat, reentry, endpoint_id, max_lateness, priority, " \
	"where_segment " \
	"FROM eventmkt_data.rule r WHERE r.rule_id OPERATOR(pg_catalog.=) $1 "

static EmkPlan version_plan = {
	RULE_COLUMNS "AND r.version OPERATOR(pg_catalog.=) $2", 2, {INT4OID, INT4OID}
};
static EmkPlan current_plan = {
	RULE_COLUMNS "AND r.current", 1, {INT4OID}
};

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == rule_oid)
		stale = true;
}

void
emk_rule_init_cache(void)
{
	emk_base_on_relcache(forget);
}

void
emk_rule_init(void)
{
	emk_rule_init_condition();
	emk_rule_init_cache();
	emk_rule_init_match();
	emk_rule_init_armed();
}

static void
begin_cache(void)
{
	HASHCTL		ctl;

	emk_base_leave_behind(&cache_context);
	cache_context = AllocSetContextCreate(TopMemoryContext, "eventmkt rules", ALLOCSET_DEFAULT_SIZES);
	rule_oid = emk_setting_table("rule");
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(RuleKey);
	ctl.entrysize = sizeof(RuleEntry);
	ctl.hcxt = cache_context;
	rules = hash_create("eventmkt rules", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

static JsonPath *
read_path(int col, bool *cold)
{
	bool		isnull;
	Datum		d = emk_spi_datum(0, col, &isnull);
	EmkCondition c;
	JsonPath   *path;

	*cold = false;
	if (isnull)
		return NULL;
	path = DatumGetJsonPathPCopy(d);
	emk_rule_analyse(path, &c);
	*cold = c.cold;
	return path;
}

static Interval *
read_interval(int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(0, col, &isnull);
	Interval   *iv;

	if (isnull)
		return NULL;
	iv = palloc(sizeof(Interval));
	*iv = *DatumGetIntervalP(d);
	return iv;
}

static EmkRepeat
read_repeat(const char *s)
{
	switch (s[0])
	{
		case 'i':
			return EMK_REPEAT_IGNORE;
		case 'r':
			return EMK_REPEAT_REPLACE;
		case 'p':
			return EMK_REPEAT_PARALLEL;
		default:
			return EMK_REPEAT_DEBOUNCE;
	}
}

static void
read_names(int col, EmkRule *r)
{
	bool		isnull;
	Datum		d = emk_spi_datum(0, col, &isnull);
	Datum	   *elems;
	int			n;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, &n);
	r->unless = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		r->unless[i] = TextDatumGetCString(elems[i]);
	r->nunless = n;
}

/* Reads row 0 of the result into the current memory context. */
static EmkRule *
read_rule(void)
{
	EmkRule    *r = palloc0(sizeof(EmkRule));

	r->rule_id = emk_spi_int4(0, 1, 0);
	r->version = emk_spi_int4(0, 2, 0);
	r->name = emk_spi_text(0, 3);
	r->current = emk_spi_bool(0, 4, false);
	r->enabled = emk_spi_bool(0, 5, false);
	r->on_event = emk_spi_text(0, 6);
	r->where_event = read_path(7, &r->cold_event);
	r->where_profile = read_path(8, &r->cold_profile);
	r->unless_where = read_path(9, &r->cold_unless);
	r->at_least = emk_spi_int4(0, 10, 1);
	r->within = read_interval(11);
	r->per = emk_spi_text(0, 12);
	read_names(13, r);
	r->look_back = *read_interval(14);
	r->after = *read_interval(15);
	r->on_repeat = read_repeat(emk_spi_text(0, 16));
	r->reentry = read_interval(17);
	r->endpoint_id = emk_spi_int4(0, 18, 0);
	r->max_lateness = *read_interval(19);
	r->priority = emk_spi_int4(0, 20, 0);
	r->where_segment = emk_spi_int4(0, 21, 0);
	r->lapse = emk_rule_is_lapse(r);
	return r;
}

static const EmkRule *
lookup(int32 rule_id, int32 version)
{
	RuleKey		key = {rule_id, version};
	Datum		args[2] = {Int32GetDatum(rule_id), Int32GetDatum(version)};
	bool		found;
	RuleEntry  *e;
	EmkRule    *rule = NULL;
	int			tries = 0;

	if (stale)
		begin_cache();
	e = hash_search(rules, &key, HASH_FIND, &found);
	if (found)
		return e->rule;
	SPI_connect();
	do
	{
		uint64		n;

		if (stale)
			begin_cache();		/* the query itself processed an invalidation: read again, but not without end */
		rule = NULL;
		n = emk_spi_run_latest(version ? &version_plan : &current_plan, args);
		if (n > 0)
		{
			MemoryContext old = MemoryContextSwitchTo(cache_context);

			rule = read_rule();
			MemoryContextSwitchTo(old);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (stale && ++tries < EMK_LOAD_TRIES);
	SPI_finish();
	e = hash_search(rules, &key, HASH_ENTER, &found);
	e->rule = rule;
	return rule;
}

const EmkRule *
emk_rule_get(int32 rule_id, int32 version)
{
	return lookup(rule_id, version);
}

const EmkRule *
emk_rule_current(int32 rule_id)
{
	return lookup(rule_id, 0);
}

void
emk_rule_disable(int32 rule_id, const char *reason)
{
	emk_rule_set_enabled(rule_id, false, reason);
}

char *
emk_rule_key(const EmkRule *rule, Jsonb *properties)
{
	char	   *key;

	if (rule->per == NULL)
		return pstrdup("");
	key = emk_json_scalar(properties, rule->per, strlen(rule->per));
	return key == NULL || key[0] == '\0' || strlen(key) > EMK_MAX_KEY_BYTES ? NULL : key;
}

bool
emk_rule_names_start(const EmkRule *rule, const char *name, int depth)
{
	return strcmp(rule->on_event, name) == 0 || (depth == 0 && strcmp(rule->on_event, "*") == 0);
}

bool
emk_rule_names_cancel(const EmkRule *rule, const char *name, int depth)
{
	for (int i = 0; i < rule->nunless; i++)
		if (strcmp(rule->unless[i], name) == 0 || (depth == 0 && strcmp(rule->unless[i], "*") == 0))
			return true;
	return false;
}

bool
emk_rule_cancels(const EmkRule *rule, const char *name, int depth, Jsonb *properties, char **error)
{
	char	   *ignored;

	*error = NULL;
	if (!emk_rule_names_cancel(rule, name, depth))
		return false;
	if (emk_rule_names_start(rule, name, depth) &&
		emk_rule_test(rule->where_event, rule->cold_event, properties, &ignored))
		return false;
	return emk_rule_test(rule->unless_where, rule->cold_unless, properties, error);
}
