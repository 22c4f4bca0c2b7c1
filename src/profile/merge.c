/*
 * merge.c: two profiles become one, and the way back.
 *
 * Words: `from` is merged into `into`; the survivor's traits win, it gains what it lacks. merge_log keeps what moved.
 * Rules
 * 1. The alias table stays flat: `from` and all its aliases point at `into`, which is canonical. Both rows are locked.
 * 2. Events keep the id they were written under; that is why a merge can be undone, and why readers ask for all ids.
 * 3. A merge fires no 'trait changed' events: those of `from` are part of the joined history already.
 * 4. undo_merge() gives `from` its ids and its traits back and takes from the survivor what it had gained, unless that was
 *    set since. Runs that moved stay with the survivor.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static EmkPlan aliases_plan = {
	"SELECT a.alias FROM eventmkt_data.alias a WHERE a.profile_id OPERATOR(pg_catalog.=) $1 ORDER BY a.alias",
	1, {TEXTOID}
};
static EmkPlan count_plan = {
	"SELECT pg_catalog.count(*) FROM eventmkt_data.alias a WHERE a.profile_id OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan move_plan = {
	"UPDATE eventmkt_data.alias SET profile_id = $2 WHERE profile_id OPERATOR(pg_catalog.=) $1", 2, {TEXTOID, TEXTOID}
};
static EmkPlan add_plan = {
	"INSERT INTO eventmkt_data.alias (alias, profile_id, created_at) VALUES ($1, $2, $3)",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan log_plan = {
	"INSERT INTO eventmkt_data.merge_log (from_id, into_id, merged_at, detail) VALUES ($1, $2, $3, $4) RETURNING merge_id",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID}
};
static EmkPlan refuse_plan = {
	"INSERT INTO eventmkt_data.merge_log (from_id, into_id, merged_at, refused) SELECT $1, $2, $3, $4 "
	"WHERE NOT EXISTS (SELECT 1 FROM eventmkt_data.merge_log m WHERE m.from_id OPERATOR(pg_catalog.=) $1 "
	"AND m.into_id OPERATOR(pg_catalog.=) $2 AND m.refused IS NOT NULL)", 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};
static EmkPlan find_plan = {
	"SELECT m.from_id, m.into_id, m.undone_at IS NOT NULL, m.refused IS NOT NULL, "
	"m.detail OPERATOR(pg_catalog.->) 'traits', m.detail OPERATOR(pg_catalog.->) 'added', "
	"(m.detail OPERATOR(pg_catalog.->>) 'identified')::pg_catalog.bool, "
	"(m.detail OPERATOR(pg_catalog.->>) 'created_at')::pg_catalog.int8 "
	"FROM eventmkt_data.merge_log m WHERE m.merge_id OPERATOR(pg_catalog.=) $1 FOR UPDATE", 1, {INT8OID}
};
static EmkPlan drop_alias_plan = {
	"DELETE FROM eventmkt_data.alias WHERE alias OPERATOR(pg_catalog.=) $1 AND profile_id OPERATOR(pg_catalog.=) $2",
	2, {TEXTOID, TEXTOID}
};
static EmkPlan give_back_plan = {
	"UPDATE eventmkt_data.alias a SET profile_id = $2 "
	"FROM eventmkt_data.merge_log m, pg_catalog.jsonb_array_elements_text(m.detail OPERATOR(pg_catalog.->) 'aliases') t(id) "
	"WHERE m.merge_id OPERATOR(pg_catalog.=) $1 AND a.alias OPERATOR(pg_catalog.=) (t.id COLLATE \"C\") "
	"AND a.profile_id OPERATOR(pg_catalog.=) $3", 3, {INT8OID, TEXTOID, TEXTOID}
};
static EmkPlan undone_plan = {
	"UPDATE eventmkt_data.merge_log SET undone_at = $2 WHERE merge_id OPERATOR(pg_catalog.=) $1", 2, {INT8OID, TIMESTAMPTZOID}
};

/* The names and values of changes as one JSON object. */
static void
append_added(StringInfo buf, const EmkTraitChange *changes, int n)
{
	appendStringInfoString(buf, "\"added\": {");
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, ", ");
		emk_json_append_jsonb(buf, changes[i].trait, changes[i].new_value);
	}
	appendStringInfoString(buf, "}");
}

/* Moves the aliases of `from` and itself to `into`; appends the moved ones to `detail`. */
static void
move_aliases(const char *from, const char *into, TimestampTz at, StringInfo detail)
{
	Datum		args[3] = {CStringGetTextDatum(from), CStringGetTextDatum(into), TimestampTzGetDatum(at)};
	int64		have;
	uint64		n;

	emk_spi_run(&count_plan, &args[1], NULL, false, 0);
	have = emk_spi_int8(0, 1, 0);
	n = emk_spi_run(&aliases_plan, args, NULL, false, 0);
	if (have + (int64) n + 1 > EMK_MAX_ALIASES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a profile cannot have more than %d aliases (EMK_MAX_ALIASES)", EMK_MAX_ALIASES),
				 errhint("An id that is shared by many people should not be merged.")));
	appendStringInfoString(detail, "\"aliases\": [");
	for (uint64 i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(detail, ", ");
		escape_json(detail, emk_spi_text(i, 1));
	}
	appendStringInfoString(detail, "], ");
	if (n > 0)
		emk_spi_run(&move_plan, args, NULL, false, 0);
	emk_spi_run(&add_plan, args, NULL, false, 0);
}

int64
emk_profile_merge(const char *from, const char *into)
{
	EmkProfileRow lost;
	EmkProfileRow kept;
	EmkTraitChange *added;
	StringInfoData detail;
	TimestampTz at;
	Datum		args[4];
	int64		merge_id;
	int			n;

	Assert(strcmp(from, into) != 0);
	SPI_connect();
	emk_profile_read_row(from, &lost);
	emk_profile_read_row(into, &kept);
	if (!lost.exists || !kept.exists)
		elog(ERROR, "profiles to merge are not locked");
	at = emk_profile_change_time(&kept);
	kept.traits = emk_profile_combine(kept.traits, lost.traits, true, &added, &n);
	if (n > 0)
		emk_profile_check_traits(kept.traits);

	initStringInfo(&detail);
	appendStringInfoChar(&detail, '{');
	move_aliases(from, into, at, &detail);
	EMK_PAUSE_POINT("aliases_moved");
	append_added(&detail, added, n);
	appendStringInfo(&detail, ", \"identified\": %s, \"created_at\": \"" INT64_FORMAT "\", ",
					 lost.identified ? "true" : "false", lost.created_at);
	emk_json_append_jsonb(&detail, "traits", lost.traits);
	appendStringInfoChar(&detail, '}');

	kept.created_at = Min(kept.created_at, lost.created_at);
	kept.updated_at = at;
	emk_profile_delete_row(from);
	emk_profile_write_row(into, &kept);		/* always: this is what a concurrent REPEATABLE READ caller fails on */
	emk_profile_log_changes(into, at, added, n);
	args[0] = CStringGetTextDatum(from);
	args[1] = CStringGetTextDatum(into);
	args[2] = TimestampTzGetDatum(at);
	args[3] = JsonbPGetDatum(emk_json_parse(detail.data));
	emk_spi_run(&log_plan, args, NULL, false, 0);
	merge_id = emk_spi_int8(0, 1, 0);
	SPI_finish();
	return merge_id;
}

void
emk_profile_refuse_merge(const char *from, const char *into, const char *reason)
{
	Datum		args[4] = {CStringGetTextDatum(from), CStringGetTextDatum(into), TimestampTzGetDatum(emk_clock_now()),
	CStringGetTextDatum(reason)};

	SPI_connect();
	emk_spi_run(&refuse_plan, args, NULL, false, 0);
	SPI_finish();
	ereport(NOTICE,
			(errmsg("the two profiles are not merged: %s", reason),
			 errhint("Call eventmkt.alias() when they are one person.")));
}

typedef struct Merge
{
	int64		id;
	char	   *from;
	char	   *into;
	Jsonb	   *traits;
	Jsonb	   *added;
	bool		identified;
	TimestampTz created_at;
} Merge;

/* Reads and locks a row of merge_log; errors when it is not there to be undone. */
static void
find_merge(int64 id, Merge *m)
{
	Datum		arg = Int64GetDatum(id);
	bool		isnull;

	if (emk_spi_run(&find_plan, &arg, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("merge %lld does not exist", (long long) id)));
	if (emk_spi_bool(0, 3, false) || emk_spi_bool(0, 4, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg(emk_spi_bool(0, 3, false) ? "merge %lld is undone already" : "merge %lld was refused",
						(long long) id)));
	m->id = id;
	m->from = emk_spi_text(0, 1);
	m->into = emk_spi_text(0, 2);
	m->traits = DatumGetJsonbPCopy(emk_spi_datum(0, 5, &isnull));
	m->added = DatumGetJsonbPCopy(emk_spi_datum(0, 6, &isnull));
	m->identified = emk_spi_bool(0, 7, false);
	m->created_at = emk_spi_int8(0, 8, 0);
}

/* Takes from the survivor what the merge had added and nobody has set since. */
static void
take_back(const char *canonical, Jsonb *added)
{
	EmkProfileRow row;
	EmkTraitChange *changes;
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&added->root);
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	nothing = {.type = jbvNull};
	int			n;

	emk_profile_read_row(canonical, &row);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		if (tok == WJB_KEY)
		{
			JsonbValue	buf;
			JsonbValue *now = getKeyJsonValueFromContainer(&row.traits->root, key.val.string.val, key.val.string.len,
														   &buf);

			(void) JsonbIteratorNext(&it, &value, true);
			if (now == NULL || compareJsonbContainers(&JsonbValueToJsonb(now)->root,
													  &JsonbValueToJsonb(&value)->root) != 0)
				continue;
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &nothing);
		}
	row.traits = emk_profile_combine(row.traits, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)),
									 false, &changes, &n);
	row.updated_at = emk_profile_change_time(&row);
	emk_profile_write_row(canonical, &row);
	emk_profile_log_changes(canonical, row.updated_at, changes, n);
}

/* The ids and the row of `from` as they were. */
static void
restore_profile(const Merge *m, const char *canonical)
{
	Datum		args[3] = {Int64GetDatum(m->id), CStringGetTextDatum(m->from), CStringGetTextDatum(canonical)};
	EmkProfileRow row;
	uint64		given_back;

	if (emk_spi_run(&drop_alias_plan, &args[1], NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("merge %lld cannot be undone: its profiles are apart already", (long long) m->id)));
	given_back = emk_spi_run(&give_back_plan, args, NULL, false, 0);
	emk_profile_lock_row(m->from);
	emk_profile_read_row(m->from, &row);
	row.traits = m->traits;
	row.identified = m->identified;
	row.created_at = m->created_at;
	row.updated_at = emk_profile_change_time(&row);
	if (m->identified || JB_ROOT_COUNT(m->traits) > 0 || given_back > 0)
		emk_profile_write_row(m->from, &row);
	else
		emk_profile_delete_row(m->from);	/* nothing was known of it: it had no row, or an empty one */
}

PG_FUNCTION_INFO_V1(emk_profile_undo_merge);
/* eventmkt.undo_merge(merge_id): gives the merged profile its ids and traits back; returns its id */
Datum
emk_profile_undo_merge(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"merge_id"});
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	EmkOwner	owner;
	Merge		m;
	const char *canonical;
	Datum		args[2];
	Datum		result;

	emk_owner_enter(&owner);
	SPI_connect();
	find_merge(PG_GETARG_INT64(0), &m);
	emk_profile_lock((const char **) &m.into, &canonical, 1);
	restore_profile(&m, canonical);
	take_back(canonical, m.added);
	args[0] = Int64GetDatum(m.id);
	args[1] = TimestampTzGetDatum(emk_clock_now());
	emk_spi_run(&undone_plan, args, NULL, false, 0);
	emk_base_invalidate_table("rule_event");	/* its inactivity runs stay with the survivor: its next event begins others */
	old = MemoryContextSwitchTo(caller);
	result = CStringGetTextDatum(m.from);
	MemoryContextSwitchTo(old);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_DATUM(result);
}
