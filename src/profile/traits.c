/*
 * traits.c: what is known of a profile, and its history.
 *
 * Words: traits are one JSON object a profile; identify() sets them at the top level, a null removes one. A change is one
 * trait that has another value than before; 1 and 1.0 are the same value. trait_change keeps every change with both
 * values, so the traits of any time can be told, forward from the change before it or backward from the one after, also
 * when old changes were forgotten (`retention`); its times never go backward within a profile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

static EmkPlan read_plan = {
	"SELECT p.identified, p.traits, p.created_at, p.updated_at FROM eventmkt_data.profile p "
	"WHERE p.profile_id OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan write_plan = {
	"UPDATE eventmkt_data.profile SET identified = $2, traits = $3, created_at = $4, updated_at = $5 "
	"WHERE profile_id OPERATOR(pg_catalog.=) $1", 5, {TEXTOID, BOOLOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.profile WHERE profile_id OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan many_plan = {
	"SELECT u.n, p.traits FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.profile p ON p.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\")", 1, {TEXTARRAYOID}
};
static EmkPlan log_plan = {
	"INSERT INTO eventmkt_data.trait_change (profile_id, changed_at, trait, old_value, new_value) "
	"SELECT $1, $2, c.trait, c.old_value, c.new_value FROM ROWS FROM "
	"(pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) c(trait, old_value, new_value)",
	5, {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, JSONBARRAYOID, JSONBARRAYOID}
};
static EmkPlan at_plan = {
	"SELECT pg_catalog.jsonb_object_agg(h.trait, h.value) FROM ("
	"SELECT DISTINCT ON (c.trait) c.trait, c.value FROM ("
	"SELECT trait, new_value AS value, 0 AS source, changed_at AS before, NULL::pg_catalog.timestamptz AS after "
	"FROM eventmkt_data.trait_change WHERE profile_id OPERATOR(pg_catalog.=) $1 AND changed_at OPERATOR(pg_catalog.<=) $2 "
	"UNION ALL SELECT l.trait, l.old_value, 1, NULL, l.changed_at FROM eventmkt_data.profile p "
	"JOIN eventmkt_data.trait_change l ON l.profile_id OPERATOR(pg_catalog.=) p.profile_id "
	"WHERE p.profile_id OPERATOR(pg_catalog.=) $1 AND p.created_at OPERATOR(pg_catalog.<=) $2 "
	"AND l.changed_at OPERATOR(pg_catalog.>) $2 "
	"UNION ALL SELECT t.key COLLATE \"C\", t.value, 2, NULL, NULL FROM eventmkt_data.profile p, "
	"LATERAL pg_catalog.jsonb_each(p.traits) t WHERE p.profile_id OPERATOR(pg_catalog.=) $1 "
	"AND p.created_at OPERATOR(pg_catalog.<=) $2) c "
	"ORDER BY c.trait, c.source, c.before DESC, c.after) h WHERE h.value IS NOT NULL", 2, {TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan forget_plan = {
	"DELETE FROM eventmkt_data.trait_change WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT c.ctid FROM eventmkt_data.trait_change c WHERE c.changed_at OPERATOR(pg_catalog.<) $1 LIMIT $2))", 2,
	{TIMESTAMPTZOID, INT8OID}
};

static Jsonb *
empty_object(void)
{
	return emk_json_parse("{}");
}

/* A jsonb column of the current row, palloc'd; NULL for SQL NULL. */
static Jsonb *
copy_jsonb(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(d);
}

Jsonb *
emk_profile_traits(const char *canonical)
{
	Jsonb	   *traits;

	emk_profile_traits_many((char **) &canonical, 1, &traits);
	return traits;
}

void
emk_profile_traits_many(char **canonical, int n, Jsonb **out)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Datum	   *datums = palloc(sizeof(Datum) * n);
	Datum		arg;

	for (int i = 0; i < n; i++)
	{
		datums[i] = CStringGetTextDatum(canonical[i]);
		out[i] = NULL;
	}
	arg = emk_spi_array(datums, NULL, n, TEXTOID);
	SPI_connect();
	emk_spi_run(&many_plan, &arg, NULL, false, 0);
	old = MemoryContextSwitchTo(caller);
	for (uint64 row = 0; row < SPI_processed; row++)
		out[emk_spi_int8(row, 1, 0) - 1] = copy_jsonb(row, 2);
	for (int i = 0; i < n; i++)
		if (out[i] == NULL)
			out[i] = empty_object();
	MemoryContextSwitchTo(old);
	SPI_finish();
}

void
emk_profile_read_row(const char *id, EmkProfileRow *row)
{
	Datum		arg = CStringGetTextDatum(id);
	bool		isnull;

	memset(row, 0, sizeof(*row));
	if (emk_spi_run(&read_plan, &arg, NULL, false, 0) == 0)
	{
		row->traits = empty_object();
		return;
	}
	row->exists = true;
	row->identified = emk_spi_bool(0, 1, false);
	row->traits = copy_jsonb(0, 2);
	row->created_at = DatumGetTimestampTz(emk_spi_datum(0, 3, &isnull));
	row->updated_at = DatumGetTimestampTz(emk_spi_datum(0, 4, &isnull));
}

void
emk_profile_write_row(const char *id, const EmkProfileRow *row)
{
	Datum		args[5] = {CStringGetTextDatum(id), BoolGetDatum(row->identified), JsonbPGetDatum(row->traits),
	TimestampTzGetDatum(row->created_at), TimestampTzGetDatum(row->updated_at)};

	if (emk_spi_run(&write_plan, args, NULL, false, 0) != 1)
		elog(ERROR, "profile to write does not exist");
}

void
emk_profile_delete_row(const char *id)
{
	Datum		arg = CStringGetTextDatum(id);

	emk_spi_run(&delete_plan, &arg, NULL, false, 0);
}

TimestampTz
emk_profile_change_time(const EmkProfileRow *row)
{
	TimestampTz now = emk_clock_now();

	return row->exists && now <= row->updated_at ? row->updated_at + 1 : now;
}

void
emk_profile_log_changes(const char *id, TimestampTz at, const EmkTraitChange *changes, int n)
{
	Datum	   *cols[3];
	bool	   *nulls[3];
	Datum		args[5] = {CStringGetTextDatum(id), TimestampTzGetDatum(at)};

	if (n == 0)
		return;
	for (int c = 0; c < 3; c++)
	{
		cols[c] = palloc(sizeof(Datum) * n);
		nulls[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		cols[0][i] = CStringGetTextDatum(changes[i].trait);
		cols[1][i] = JsonbPGetDatum(changes[i].old_value);
		cols[2][i] = JsonbPGetDatum(changes[i].new_value);
		nulls[1][i] = changes[i].old_value == NULL;
		nulls[2][i] = changes[i].new_value == NULL;
	}
	args[2] = emk_spi_array(cols[0], NULL, n, TEXTOID);
	args[3] = emk_spi_array(cols[1], nulls[1], n, JSONBOID);
	args[4] = emk_spi_array(cols[2], nulls[2], n, JSONBOID);
	emk_spi_run(&log_plan, args, NULL, false, 0);
}

/* What one trait of `add` does to `old`: true when it changes it. */
static bool
one_change(Jsonb *old, JsonbValue *key, JsonbValue *value, bool keep_old, EmkTraitChange *out)
{
	JsonbValue	buf;
	JsonbValue *before = getKeyJsonValueFromContainer(&old->root, key->val.string.val, key->val.string.len, &buf);

	if (before != NULL && keep_old)
		return false;
	out->old_value = before ? JsonbValueToJsonb(before) : NULL;
	out->new_value = value->type == jbvNull ? NULL : JsonbValueToJsonb(value);
	if (out->old_value == NULL && out->new_value == NULL)
		return false;
	if (out->old_value != NULL && out->new_value != NULL &&
		compareJsonbContainers(&out->old_value->root, &out->new_value->root) == 0)
		return false;
	out->trait = pnstrdup(key->val.string.val, key->val.string.len);
	return true;
}

Jsonb *
emk_profile_combine(Jsonb *old, Jsonb *add, bool keep_old, EmkTraitChange **changes, int *n)
{
	EmkTraitChange *list = palloc(sizeof(EmkTraitChange) * (JB_ROOT_COUNT(add) + 1));
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&add->root);
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;

	*n = 0;
	*changes = list;
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		if (tok == WJB_KEY)
		{
			(void) JsonbIteratorNext(&it, &value, true);
			if (one_change(old, &key, &value, keep_old, &list[*n]))
				(*n)++;
		}
	if (*n == 0)
		return old;

	/* the old ones, except the removed; then the new ones, of which the last of a name counts */
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&old->root);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		if (tok == WJB_KEY)
		{
			JsonbValue	buf;
			JsonbValue *now = getKeyJsonValueFromContainer(&add->root, key.val.string.val, key.val.string.len, &buf);

			(void) JsonbIteratorNext(&it, &value, true);
			if (now != NULL && now->type == jbvNull && !keep_old)
				continue;
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	for (int i = 0; i < *n; i++)
		if (list[i].new_value != NULL)
		{
			key.type = jbvString;
			key.val.string.val = (char *) list[i].trait;
			key.val.string.len = strlen(list[i].trait);
			if (!JB_ROOT_IS_SCALAR(list[i].new_value) || !JsonbExtractScalar(&list[i].new_value->root, &value))
			{
				value.type = jbvBinary;
				value.val.binary.data = &list[i].new_value->root;
				value.val.binary.len = VARSIZE(list[i].new_value) - VARHDRSZ;
			}
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
emk_profile_check_traits(Jsonb *traits)
{
	StringInfoData text;

	if (emk_json_depth(traits) > EMK_MAX_JSON_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("traits are nested deeper than %d levels (EMK_MAX_JSON_DEPTH)", EMK_MAX_JSON_DEPTH)));
	initStringInfo(&text);
	(void) JsonbToCString(&text, &traits->root, VARSIZE(traits));
	if (text.len > EMK_MAX_PROPERTIES_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("traits of a profile are larger than %d bytes (EMK_MAX_PROPERTIES_BYTES)",
						EMK_MAX_PROPERTIES_BYTES)));
	pfree(text.data);
}

/* The body of emk_profile_set_traits, inside SPI; `changes` are made in the context `caller`. */
static int
set_traits(const char *canonical, bool identified, Jsonb *traits, EmkTraitChange **changes, MemoryContext caller)
{
	EmkProfileRow row;
	MemoryContext old;
	TimestampTz at;
	int			n;

	emk_profile_read_row(canonical, &row);
	old = MemoryContextSwitchTo(caller);
	row.traits = emk_profile_combine(row.traits, traits, false, changes, &n);
	MemoryContextSwitchTo(old);
	if (n == 0 && (row.identified || !identified))
		return 0;
	if (n > 0)
		emk_profile_check_traits(row.traits);
	at = emk_profile_change_time(&row);
	row.updated_at = at;
	row.identified |= identified;
	emk_profile_write_row(canonical, &row);
	emk_profile_log_changes(canonical, at, *changes, n);
	return n;
}

int
emk_profile_set_traits(const char *canonical, bool identified, Jsonb *traits, EmkTraitChange **changes)
{
	MemoryContext caller = CurrentMemoryContext;
	int			n;

	if (!JB_ROOT_IS_OBJECT(traits))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("traits must be a JSON object"),
				 errhint("Write traits as {\"name\": value, ...}; a null removes one.")));
	emk_profile_check_traits(traits);
	SPI_connect();
	n = set_traits(canonical, identified, traits, changes, caller);
	SPI_finish();
	return n;
}

bool
emk_profile_is_identified(const char *canonical)
{
	EmkProfileRow row;

	SPI_connect();
	emk_profile_read_row(canonical, &row);
	SPI_finish();
	return row.identified;
}

uint64
emk_profile_drop_old(TimestampTz keep, int limit)
{
	Datum		args[2] = {TimestampTzGetDatum(keep), Int64GetDatum(limit)};

	return emk_spi_run(&forget_plan, args, NULL, false, 0);
}

PG_FUNCTION_INFO_V1(emk_profile_traits_at);
/* eventmkt.traits_at(user_id, at): the traits as they were known at that time; {} before the first */
Datum
emk_profile_traits_at(PG_FUNCTION_ARGS)
{
	char	   *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Datum		args[2];
	EmkOwner	owner;
	Jsonb	   *traits;

	emk_owner_enter(&owner);
	args[0] = CStringGetTextDatum(emk_profile_resolve(id));
	args[1] = PG_GETARG_DATUM(1);
	SPI_connect();
	emk_spi_run(&at_plan, args, NULL, false, 0);
	old = MemoryContextSwitchTo(caller);
	traits = copy_jsonb(0, 1);
	if (traits == NULL)
		traits = empty_object();
	MemoryContextSwitchTo(old);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_JSONB_P(traits);
}
