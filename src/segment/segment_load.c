/*
 * segment_load.c: the tracked segments and what they are made of, as the engine decides them.
 *
 * Definitions come from the rows, by the same words as the views were written from. The cache is one memory context, left behind at
 * emk_live_refresh() after a segment changed, and freed at the end of the transaction: what a turn holds stays valid, also when a trigger
 * of somebody's own asks for other segments meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/segment_live.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define MAX_WANTED 16

static MemoryContext context = NULL;
static EmkLive **all = NULL;
static int	nall = 0;
static int	ntracked = 0;
static Oid	segment_oid = InvalidOid;
static bool stale = true;
static int32 wanted[MAX_WANTED];	/* though not tracked */
static int	nwanted = 0;

static EmkPlan load_plan = {
	"WITH RECURSIVE used (id) AS (SELECT s.segment_id FROM eventmkt_data.segment s WHERE s.tracked "
	"OR s.segment_id OPERATOR(pg_catalog.=) ANY ($1) "
	"UNION SELECT pg_catalog.unnest(s.all_of OPERATOR(pg_catalog.||) s.any_of OPERATOR(pg_catalog.||) s.none_of) "
	"FROM used u JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) u.id) "
	"SELECT s.segment_id, s.name, s.definition, s.all_of, s.any_of, s.none_of, s.tracked, s.kind "
	"FROM used u JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) u.id ORDER BY s.segment_id", 1, {INT4ARRAYOID}
};

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == segment_oid)
		stale = true;
}

void
emk_live_init(void)
{
	emk_base_on_relcache(forget);
	emk_live_marks_init();
	emk_live_fill_init();
}

static JsonbValue *
member(Jsonb *jb, const char *key)
{
	return getKeyJsonValueFromContainer(&jb->root, key, strlen(key), NULL);
}

static char *
text_of(Jsonb *jb, const char *key)
{
	JsonbValue *v = member(jb, key);

	return v != NULL && v->type == jbvString ? pnstrdup(v->val.string.val, v->val.string.len) : NULL;
}

static int
number_of(const JsonbValue *v, int if_none)
{
	return v != NULL && v->type == jbvNumeric ?
		DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(v->val.numeric))) : if_none;
}

static void
read_condition(Jsonb *jb, const char *key, EmkCondPath *out)
{
	char	   *text = text_of(jb, key);
	EmkCondition c;

	if (text == NULL)
		return;
	out->path = DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)));
	emk_rule_analyse(out->path, &c);
	out->cold = c.cold;
}

static Interval *
read_interval(Jsonb *jb, const char *key)
{
	char	   *text = text_of(jb, key);

	return text == NULL ? NULL : DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
																	   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static TimeADT
read_time(Jsonb *jb, const char *key, bool *given, TimeADT otherwise)
{
	char	   *text = text_of(jb, key);

	*given = text != NULL;
	return text == NULL ? otherwise : DatumGetTimeADT(DirectFunctionCall3(time_in, CStringGetDatum(text),
																		  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
read_names(Jsonb *jb, const char *key, EmkNames *out)
{
	JsonbValue *v = member(jb, key);

	if (v == NULL || v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		return;
	out->v = palloc(sizeof(char *) * Max(JsonContainerSize(v->val.binary.data), 1));
	for (int i = 0; i < (int) JsonContainerSize(v->val.binary.data); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(v->val.binary.data, i);

		if (item->type == jbvString)
			out->v[out->n++] = pnstrdup(item->val.string.val, item->val.string.len);
	}
}

static void
read_days(Jsonb *jb, EmkSegmentSpec *spec)
{
	JsonbValue *v = member(jb, "on_days");

	if (v == NULL || v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		return;
	for (int i = 0; i < (int) JsonContainerSize(v->val.binary.data) && spec->ndays < 7; i++)
		spec->days[spec->ndays++] = number_of(getIthJsonbValueFromContainer(v->val.binary.data, i), 0);
}

/* emk_segment_definition() turned round */
static void
read_spec(Jsonb *jb, EmkSegmentSpec *spec)
{
	read_condition(jb, "where_profile", &spec->where_profile);
	spec->on_event = text_of(jb, "on_event");
	read_condition(jb, "where_event", &spec->where_event);
	spec->at_least = number_of(member(jb, "at_least"), 1);
	spec->within = read_interval(jb, "within");
	spec->per = text_of(jb, "per");
	read_names(jb, "unless", &spec->unless);
	read_condition(jb, "unless_where", &spec->unless_where);
	spec->unless_within = read_interval(jb, "unless_within");
	if (spec->unless_within == NULL)
		spec->unless_within = spec->within;
	read_names(jb, "steps", &spec->steps);
	read_days(jb, spec);
	spec->from_time = read_time(jb, "from_time", &spec->has_from, 0);
	spec->to_time = read_time(jb, "to_time", &spec->has_to, USECS_PER_DAY);
	spec->time_zone = text_of(jb, "time_zone");
	if (spec->time_zone == NULL)
		spec->time_zone = "UTC";
}

static void
add_name(EmkLive *s, const char *name)
{
	if (strcmp(name, "*") == 0)
	{
		s->all_names = true;
		return;
	}
	for (int i = 0; i < s->nnames; i++)
		if (strcmp(s->names[i], name) == 0)
			return;
	s->names = s->names == NULL ? palloc(sizeof(char *) * 8) :
		(s->nnames & (s->nnames - 1)) == 0 && s->nnames >= 8 ? repalloc(s->names, sizeof(char *) * s->nnames * 2) : s->names;
	s->names[s->nnames++] = pstrdup(name);
}

/* What a base needs; of a segment of segments, what its parts need. */
static void
find_needs(EmkLive *s, const EmkLive *of)
{
	const EmkSegmentSpec *spec = &of->spec;

	s->unknown |= of->takes_unknown;
	s->unknown_any |= of->any_event;
	if (spec->on_event != NULL)
		add_name(s, spec->on_event);
	for (int i = 0; i < spec->steps.n; i++)
		add_name(s, spec->steps.v[i]);
	for (int i = 0; i < spec->unless.n; i++)
		add_name(s, spec->unless.v[i]);
	s->properties |= spec->where_event.path != NULL || spec->unless_where.path != NULL || spec->per != NULL;
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < of->nkids[k]; i++)
			find_needs(s, of->kids[k][i]);
	s->history = s->nnames > 0 || s->all_names;
}

static void
add_use(EmkLive *part, EmkLive *user, bool turned)
{
	EmkLiveUse *use = NULL;

	for (int i = 0; i < part->nusers; i++)
		if (part->users[i].of == user)
			use = &part->users[i];
	if (use == NULL)
	{
		part->users = part->users == NULL ? palloc(sizeof(EmkLiveUse)) :
			repalloc(part->users, sizeof(EmkLiveUse) * (part->nusers + 1));
		use = &part->users[part->nusers++];
		*use = (EmkLiveUse) {user, 0};
	}
	use->ways |= turned ? 2 : 1;
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < part->nkids[k]; i++)
			add_use(part->kids[k][i], user, turned != (k == 2));
}

EmkLive *
emk_live_find(int32 id)
{
	int			lo = 0;
	int			hi = nall - 1;

	while (lo <= hi)
	{
		int			mid = (lo + hi) / 2;

		if (all[mid]->id == id)
			return all[mid];
		if (all[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid - 1;
	}
	return NULL;
}

static EmkLive *
read_row(uint64 row, ArrayType **ids)
{
	EmkLive    *s = palloc0(sizeof(EmkLive));
	bool		isnull;
	char	   *kind = emk_spi_text(row, 8);

	s->id = emk_spi_int4(row, 1, 0);
	read_spec(DatumGetJsonbPCopy(emk_spi_datum(row, 3, &isnull)), &s->spec);
	s->spec.name = emk_spi_text(row, 2);
	for (int k = EMK_SEGMENT_TRAITS; k <= EMK_SEGMENT_QUERY; k++)
		if (strcmp(kind, emk_segment_kinds[k]) == 0)
			s->spec.kind = (EmkSegmentKind) k;
	for (int k = 0; k < 3; k++)
		ids[k] = DatumGetArrayTypePCopy(emk_spi_datum(row, 4 + k, &isnull));
	s->tracked = emk_spi_bool(row, 7, false);
	return s;
}

/* Turns ids into pointers; a part that is gone is left out, which cannot be: drop_segment() refuses. */
static void
find_kids(EmkLive *s, ArrayType **ids)
{
	for (int k = 0; k < 3; k++)
	{
		int			n = ArrayGetNItems(ARR_NDIM(ids[k]), ARR_DIMS(ids[k]));
		int32	   *v = (int32 *) ARR_DATA_PTR(ids[k]);

		s->kids[k] = palloc(sizeof(EmkLive *) * Max(n, 1));
		for (int i = 0; i < n; i++)
		{
			EmkLive    *kid = emk_live_find(v[i]);

			if (kid != NULL)
				s->kids[k][s->nkids[k]++] = kid;
		}
	}
	s->takes_unknown = s->nkids[0] + s->nkids[1] == 0 && emk_segment_takes_unknown(&s->spec);
	s->any_event = s->takes_unknown && s->spec.on_event == NULL && s->spec.steps.n == 0;
}

static void
load(void)
{
	uint64		n;
	ArrayType *(*ids)[3];
	Datum		ids_wanted[MAX_WANTED];
	Datum		arg;
	MemoryContext old;

	nall = ntracked = 0;
	emk_live_marks_forget();
	emk_base_leave_behind(&context);
	context = AllocSetContextCreate(TopMemoryContext, "eventmkt live segments", ALLOCSET_DEFAULT_SIZES);
	segment_oid = emk_setting_table("segment");
	stale = false;				/* an invalidation from here on says: again */
	for (int i = 0; i < nwanted; i++)
		ids_wanted[i] = Int32GetDatum(wanted[i]);
	arg = emk_spi_array(ids_wanted, NULL, nwanted, INT4OID);
	n = emk_spi_run_latest(&load_plan, &arg);
	old = MemoryContextSwitchTo(context);
	all = palloc(sizeof(EmkLive *) * Max(n, 1));
	ids = palloc(sizeof(*ids) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		all[i] = read_row(i, ids[i]);
		ntracked += all[i]->tracked;
	}
	nall = (int) n;
	for (int i = 0; i < nall; i++)
		find_kids(all[i], ids[i]);
	for (int i = 0; i < nall; i++)
	{
		find_needs(all[i], all[i]);
		if (all[i]->tracked)
			add_use(all[i], all[i], false);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

/* An ERROR half way leaves nothing that looks loaded. */
static void
load_guarded(void)
{
	volatile bool done = false;

	PG_TRY();
	{
		load();
		done = true;
	}
	PG_FINALLY();
	{
		if (!done)
			stale = true;
	}
	PG_END_TRY();
}

void
emk_live_refresh(void)
{
	for (int tries = 0; stale && tries < EMK_LOAD_TRIES; tries++)
		load_guarded();
}

EmkLive *
emk_live_want(int32 id)
{
	EmkLive    *s;

	emk_live_refresh();
	s = emk_live_find(id);
	if (s != NULL)
		return s;
	for (int i = 0; i < nwanted; i++)
		if (wanted[i] == id)
			return NULL;		/* it was asked for when all were read: there is none */
	if (nwanted == MAX_WANTED)
		nwanted = 0;
	wanted[nwanted++] = id;
	stale = true;
	emk_live_refresh();
	return emk_live_find(id);
}

EmkLive **
emk_live_all(int *n)
{
	*n = nall;
	return all;
}

int
emk_live_tracked(void)
{
	return ntracked;
}
