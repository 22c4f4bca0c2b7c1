/*
 * load.c: rows of rule_event → the rule index in memory.
 *
 * A new backend should not pay for ten thousand rules with its first event. So where more than WHOLE_ROWS rules listen to one
 * name, only those without a demanded value are loaded; of the others the ones whose value the event carries are read through
 * the index rule_event_hash, event by event, and after some events match.c has all of them loaded. There is no second, packed
 * form of the rules that could be out of date: all that is read are the rows of rule_event, under the same invalidation.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "rule/match_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define WHOLE_ROWS 256			/* rules of one name that are loaded at once */
#define LOOKUP_VALUES 16		/* values of one event that are looked up */
#define COLUMNS 6

/* read by primary key and sorted by property here: a sort of what is sorted already costs little */
#define RULE_COLUMNS \
	"SELECT rule_id, lapse, lapse_after, hash_property, hash_value, condition FROM eventmkt_data.rule_event " \
	"WHERE name OPERATOR(pg_catalog.=) $1 "
static EmkPlan rows_plan = {
	RULE_COLUMNS "ORDER BY rule_id LIMIT $2", 2, {TEXTOID, INT8OID}
};
static EmkPlan plain_plan = {
	RULE_COLUMNS "AND pg_catalog.hashtext(hash_property) IS NULL", 1, {TEXTOID}
};
static EmkPlan value_plan = {
	RULE_COLUMNS "AND pg_catalog.hashtext(hash_property) OPERATOR(pg_catalog.=) $2 "
	"AND pg_catalog.jsonb_hash(hash_value) OPERATOR(pg_catalog.=) $3", 3, {TEXTOID, INT4OID, INT4OID}
};

/* A row as read; the values point into the result. */
typedef struct Row
{
	Datum		v[COLUMNS];
	bool		isnull[COLUMNS];
	const char *property;		/* NULL: none is demanded */
	int			property_len;
} Row;

typedef struct Rows
{
	int			n;
	int			size;
	Row		   *rows;
} Rows;

uint32
emk_rule_hash_scalar(const JsonbValue *v)
{
	switch (v->type)
	{
		case jbvString:
			return hash_bytes((const unsigned char *) v->val.string.val, v->val.string.len);
		case jbvNumeric:
			return DatumGetUInt32(DirectFunctionCall1(hash_numeric, NumericGetDatum(v->val.numeric)));
		case jbvBool:
			return v->val.boolean ? 0x51ed270b : 0x2f7a3cd1;
		default:
			return 0x7c0e1b55;	/* null */
	}
}

/* By property, those without one last; then by rule. */
static int
compare_rows(const void *x, const void *y)
{
	const Row  *a = x;
	const Row  *b = y;
	int			cmp;

	if (a->property == NULL || b->property == NULL)
		cmp = (a->property == NULL) - (b->property == NULL);
	else
	{
		cmp = memcmp(a->property, b->property, Min(a->property_len, b->property_len));
		if (cmp == 0)
			cmp = a->property_len - b->property_len;
	}
	if (cmp != 0)
		return cmp;
	return DatumGetInt32(a->v[0]) < DatumGetInt32(b->v[0]) ? -1 : DatumGetInt32(a->v[0]) > DatumGetInt32(b->v[0]);
}

/* Runs a plan and appends what it read. Inside SPI, whose memory holds all of it. */
static void
read_rows(EmkPlan *plan, Datum *args, Rows *out)
{
	uint64		n = emk_spi_run_latest(plan, args);

	if (out->n + (int) n > out->size)
	{
		out->size = out->n + (int) n;
		out->rows = out->rows == NULL ? palloc_extended(sizeof(Row) * out->size, MCXT_ALLOC_HUGE) :
			repalloc_huge(out->rows, sizeof(Row) * out->size);
	}
	for (uint64 i = 0; i < n; i++)
	{
		Row		   *r = &out->rows[out->n++];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, r->v, r->isnull);
		r->property = NULL;
		if (!r->isnull[3])
		{
			text	   *t = DatumGetTextPP(r->v[3]);

			r->property = VARDATA_ANY(t);
			r->property_len = VARSIZE_ANY_EXHDR(t);
		}
	}
}

/* Copies a row into a rule, in the current memory context. */
static void
make_rule(const Row *row, EmkMatchRule *r)
{
	memset(r, 0, sizeof(*r));
	r->rule_id = DatumGetInt32(row->v[0]);
	r->lapse = DatumGetBool(row->v[1]);
	if (!row->isnull[2])
	{
		r->lapse_after = palloc(sizeof(Interval));
		*r->lapse_after = *DatumGetIntervalP(row->v[2]);
	}
	r->hash_value = row->isnull[4] ? NULL : DatumGetJsonbPCopy(row->v[4]);
	r->condition = row->isnull[5] ? NULL : DatumGetJsonPathPCopy(row->v[5]);
	r->state = row->isnull[5] ? EMK_CONDITION_NONE : EMK_CONDITION_UNREAD;
}

static void
build_buckets(EmkHashGroup *g)
{
	uint32		size = 16;

	while (size < (uint32) g->nrules * 2)
		size *= 2;
	g->mask = size - 1;
	g->buckets = palloc(sizeof(int32) * size);
	memset(g->buckets, 0xff, sizeof(int32) * size);
	for (int i = 0; i < g->nrules; i++)
	{
		JsonbValue	v;

		JsonbExtractScalar(&g->rules[i].hash_value->root, &v);
		g->rules[i].hash = emk_rule_hash_scalar(&v);
		g->rules[i].next = g->buckets[g->rules[i].hash & g->mask];
		g->buckets[g->rules[i].hash & g->mask] = i;
	}
}

static EmkHashGroup *
add_group(EmkNameEntry *e, const Row *row, EmkMatchRule *first)
{
	EmkHashGroup *g;

	e->groups = e->groups == NULL ? palloc(sizeof(EmkHashGroup)) :
		repalloc(e->groups, sizeof(EmkHashGroup) * (e->ngroups + 1));
	g = &e->groups[e->ngroups++];
	memset(g, 0, sizeof(*g));
	g->property = pnstrdup(row->property, row->property_len);
	g->property_len = row->property_len;
	g->rules = first;
	return g;
}

/* Fills the entry with the rows. */
static void
build(EmkNameEntry *e, Rows *in, MemoryContext keep)
{
	MemoryContext old = MemoryContextSwitchTo(keep);
	EmkMatchRule *rules = in->n > 0 ? MemoryContextAllocHuge(keep, sizeof(EmkMatchRule) * in->n) : NULL;
	EmkHashGroup *g = NULL;

	e->nplain = e->ngroups = 0;
	e->plain = NULL;
	e->groups = NULL;
	if (in->n > 0)
		qsort(in->rows, in->n, sizeof(Row), compare_rows);
	for (int i = 0; i < in->n; i++)
	{
		const Row  *row = &in->rows[i];

		make_rule(row, &rules[i]);
		if (row->property == NULL)
		{
			e->plain = e->nplain == 0 ? &rules[i] : e->plain;
			e->nplain++;
			continue;
		}
		if (g == NULL || g->property_len != row->property_len || memcmp(g->property, row->property, row->property_len) != 0)
			g = add_group(e, row, &rules[i]);
		g->nrules++;
	}
	for (int i = 0; i < e->ngroups; i++)
		build_buckets(&e->groups[i]);
	MemoryContextSwitchTo(old);
}

static void
load(EmkNameEntry *e, MemoryContext keep, bool whole)
{
	Datum		args[2] = {CStringGetTextDatum(e->name), Int64GetDatum(whole ? PG_INT64_MAX : WHOLE_ROWS + 1)};
	Rows		rows = {0};
	EmkOwner	owner;

	emk_owner_enter(&owner);
	SPI_connect();
	read_rows(&rows_plan, args, &rows);
	e->partial = !whole && rows.n > WHOLE_ROWS;
	if (e->partial)
	{
		rows.n = 0;
		read_rows(&plain_plan, args, &rows);
	}
	build(e, &rows, keep);
	SPI_finish();
	emk_owner_leave(&owner);
	pfree(DatumGetPointer(args[0]));
}

void
emk_rule_load(EmkNameEntry *e, MemoryContext keep)
{
	e->reads = 0;
	load(e, keep, false);
}

void
emk_rule_load_all(EmkNameEntry *e, MemoryContext keep)
{
	load(e, keep, true);
}

/* A property and a scalar that it has, as the index rule_event_hash knows them */
typedef struct Lookup
{
	Datum		property;
	Datum		value;
} Lookup;

static bool
add_lookup(Lookup *lookups, int *n, Datum property, JsonbValue *v)
{
	Jsonb	   *value;

	if (v->type == jbvBinary)
		return true;
	if (*n == LOOKUP_VALUES)
		return false;
	value = JsonbValueToJsonb(v);
	lookups[*n].property = property;
	lookups[*n].value = DirectFunctionCall1(jsonb_hash, JsonbPGetDatum(value));
	(*n)++;
	return true;
}

/* What each property has: a scalar, or the scalars of an array, which jsonpath's lax mode unwraps once. False: too much. */
static bool
collect_lookups(Jsonb *properties, Lookup *lookups, int *n)
{
	JsonbIterator *it = JsonbIteratorInit(&properties->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	Datum		property = (Datum) 0;
	bool		few = true;

	while (few && (token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			property = DirectFunctionCall1Coll(hashtext, C_COLLATION_OID,
											   PointerGetDatum(cstring_to_text_with_len(v.val.string.val, v.val.string.len)));
		else if (token == WJB_VALUE && v.type == jbvBinary && JsonContainerIsArray(v.val.binary.data))
			for (int i = 0; few && i < (int) JsonContainerSize(v.val.binary.data); i++)
				few = add_lookup(lookups, n, property, getIthJsonbValueFromContainer(v.val.binary.data, i));
		else if (token == WJB_VALUE)
			few = add_lookup(lookups, n, property, &v);
	}
	return few;
}

bool
emk_rule_load_values(EmkNameEntry *e, Jsonb *properties, MemoryContext keep)
{
	Lookup		lookups[LOOKUP_VALUES];
	int			n = 0;
	Rows		rows = {0};
	Datum		name;
	EmkOwner	owner;
	bool		few = true;

	emk_owner_enter(&owner);
	SPI_connect();
	if (JB_ROOT_IS_OBJECT(properties))
		few = collect_lookups(properties, lookups, &n);
	name = CStringGetTextDatum(e->name);
	for (int i = 0; few && i < n; i++)
	{
		Datum		args[3] = {name, lookups[i].property, lookups[i].value};

		read_rows(&value_plan, args, &rows);
	}
	if (few)
		build(e, &rows, keep);
	SPI_finish();
	emk_owner_leave(&owner);
	return few;
}
