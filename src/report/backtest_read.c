/*
 * backtest_read.c: one ordered scan of the event table for all rules of a backtest: only events whose names some rule cares about, by
 * person and time. A person's events come one after the other; a chunk of people is held in memory, its traits and merges are read
 * with a few queries, and each rule is replayed over each person. Memory is bounded by the chunk and the sort (maintenance_work_mem,
 * beyond that temporary files), whatever the history.
 *
 * The scan runs in parallel where all conditions are hot and no rule asks a segment: a cold condition needs a subtransaction.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "report/backtest.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define CHUNK_ITEMS 16384
#define CHUNK_BYTES (16 * 1024 * 1024)
#define TELL_EVERY (5 * USECS_PER_SEC)

#define EVENT_COLUMNS \
	"e.profile_id, e.occurred_at, e.event_id, e.name, e.properties, e.message_id, e.received_at, e.depth "
#define EVENT_FILTER \
	"WHERE e.occurred_at OPERATOR(pg_catalog.>=) $1 AND e.occurred_at OPERATOR(pg_catalog.<=) $2 " \
	"AND (e.name OPERATOR(pg_catalog.=) ANY ($3) OR $4 AND e.depth OPERATOR(pg_catalog.=) 0) AND e.conflict_of IS NULL "
#define SAMPLED(id) \
	"AND ($5 OPERATOR(pg_catalog.=) 1 OR (pg_catalog.hashtextextended(" id ", 0) OPERATOR(pg_catalog.&) 1073741823) " \
	"OPERATOR(pg_catalog.%) $5 OPERATOR(pg_catalog.=) 0) "

static const char *const plain_query =
	"SELECT e.profile_id, " EVENT_COLUMNS "FROM eventmkt_data.event e " EVENT_FILTER SAMPLED("e.profile_id")
	"ORDER BY e.profile_id, e.occurred_at";
static const char *const joined_query =
	"SELECT COALESCE(a.profile_id, e.profile_id), " EVENT_COLUMNS "FROM eventmkt_data.event e "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) e.profile_id "
	EVENT_FILTER SAMPLED("COALESCE(a.profile_id, e.profile_id)") "ORDER BY 1, e.occurred_at";
static EmkPlan any_alias_plan = {
	"SELECT 1 FROM eventmkt_data.alias LIMIT 1", 0, {0}
};
static EmkPlan merges_plan = {
	"SELECT u.n::pg_catalog.int4, m.from_id, m.into_id, m.merged_at FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
	"AS u (n, id) JOIN eventmkt_data.merge_log m ON m.into_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"WHERE m.refused IS NULL AND m.undone_at IS NULL AND m.merged_at OPERATOR(pg_catalog.<=) $3 "
	"ORDER BY u.n, m.merged_at, m.merge_id", 3, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

typedef struct Reader
{
	DestReceiver dest;
	EmkBacktest *b;
	MemoryContext context;		/* of the chunk */
	MemoryContext scratch;		/* of one replay */
	EmkItem    *items;			/* CHUNK_ITEMS, or more where one person has more */
	int			n;
	int			room;
	EmkPerson  *people;
	int			npeople;
	int			people_room;
	bool		aliases;		/* there are some at all */
	bool		ask_traits;
	const char **names;			/* of the chunk, each once */
	int			nnames;
	TimestampTz told;
} Reader;

static void
start_chunk(Reader *r)
{
	MemoryContextReset(r->context);
	r->room = CHUNK_ITEMS;
	r->items = MemoryContextAlloc(r->context, sizeof(EmkItem) * r->room);
	r->people_room = 1024;
	r->people = MemoryContextAlloc(r->context, sizeof(EmkPerson) * r->people_room);
	r->names = MemoryContextAlloc(r->context, sizeof(char *) * 64);
	r->n = r->npeople = r->nnames = 0;
}

/* Few names are many events: a copy each as long as there are few. */
static const char *
intern(Reader *r, text *name)
{
	int			len = VARSIZE_ANY_EXHDR(name);

	for (int i = 0; i < r->nnames; i++)
		if (strncmp(r->names[i], VARDATA_ANY(name), len) == 0 && r->names[i][len] == '\0')
			return r->names[i];
	if (r->nnames == 64)
		return text_to_cstring(name);
	return r->names[r->nnames++] = text_to_cstring(name);
}

/* Events of the same microsecond come in the order of message id and properties, not in that of the scan. */
static void
order_ties(EmkItem *v, int n)
{
	for (int i = 1; i < n; i++)
		for (int j = i; j > 0 && v[j].occurred_at == v[j - 1].occurred_at; j--)
		{
			EmkItem		t = v[j];
			int			c = emk_trigger_compare(t.occurred_at, t.message_id, t.properties, v[j - 1].occurred_at,
												v[j - 1].message_id, v[j - 1].properties);

			if (c > 0 || (c == 0 && t.event_id > v[j - 1].event_id))
				break;
			v[j] = v[j - 1];
			v[j - 1] = t;
		}
}

static int
id_index(const EmkPerson *p, const char *id)
{
	for (int i = 0; i < p->nids; i++)
		if (p->ids[i] == id || strcmp(p->ids[i], id) == 0)
			return i;
	return 0;
}

/* Adds merges of one person to his items, each before the events of its time. */
static void
add_merges(EmkPerson *p, const EmkItem *merges, int n)
{
	EmkItem    *all = palloc_extended(sizeof(EmkItem) * (p->n + n), MCXT_ALLOC_HUGE);
	int			m = 0;
	int			k = 0;

	p->before = palloc(sizeof(char *) * p->nids);
	for (int i = 0; i < p->nids; i++)
		p->before[i] = p->ids[0];
	for (int i = 0; i < n; i++)
		p->before[id_index(p, merges[i].raw_id)] = p->ids[id_index(p, merges[i].raw_id)];
	/* an id that is nobody's by the log belonged to whom it first went with; without a log that is who it is now */
	for (int i = 0; i < p->n; i++)
	{
		while (m < n && merges[m].occurred_at <= p->items[i].occurred_at)
			all[k++] = merges[m++];
		all[k++] = p->items[i];
	}
	while (m < n)
		all[k++] = merges[m++];
	for (int i = 0; i < k; i++)
		if (all[i].kind == 'm')
		{
			all[i].raw_id = p->ids[id_index(p, all[i].raw_id)];
			all[i].profile_id = p->ids[id_index(p, all[i].profile_id)];
		}
	p->items = all;
	p->n = k;
}

/* All ids of everybody in the chunk, and the merges by which they became theirs. In SPI. */
static void
read_merges(Reader *r)
{
	char	  **canonical = palloc(sizeof(char *) * r->npeople);
	EmkIds	   *ids = palloc(sizeof(EmkIds) * r->npeople);
	Datum	   *v[2];
	Datum		args[3];
	EmkItem    *merges;
	int			total = 0;
	int			n = 0;

	for (int i = 0; i < r->npeople; i++)
		canonical[i] = (char *) r->people[i].ids[0];
	emk_profile_ids(canonical, r->npeople, ids);
	for (int i = 0; i < r->npeople; i++)
		total += ids[i].n;
	v[0] = palloc(sizeof(Datum) * total);
	v[1] = palloc(sizeof(Datum) * total);
	total = 0;
	for (int i = 0; i < r->npeople; i++)
	{
		EmkPerson  *p = &r->people[i];

		p->nids = ids[i].n;
		p->ids = (const char **) ids[i].ids;
		for (int k = 0; k < p->n; k++)
			p->items[k].who = id_index(p, p->items[k].raw_id);
		for (int k = 0; k < p->nids && p->nids > 1; k++)
		{
			v[0][total] = Int32GetDatum(i);
			v[1][total++] = CStringGetTextDatum(p->ids[k]);
		}
	}
	if (total == 0)
		return;
	args[0] = emk_spi_array(v[0], NULL, total, INT4OID);
	args[1] = emk_spi_array(v[1], NULL, total, TEXTOID);
	args[2] = TimestampTzGetDatum(r->b->to);
	n = (int) emk_spi_run(&merges_plan, args, NULL, true, 0);
	merges = palloc0(sizeof(EmkItem) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		merges[i].kind = 'm';
		merges[i].raw_id = emk_spi_text(i, 2);
		merges[i].profile_id = emk_spi_text(i, 3);
		merges[i].occurred_at = DatumGetTimestampTz(emk_spi_datum(i, 4, &isnull));
		merges[i].who = emk_spi_int4(i, 1, 0);
	}
	for (int first = 0, next; first < n; first = next)
	{
		int			person = merges[first].who;

		for (next = first; next < n && merges[next].who == person; next++)
			;
		for (int i = first; i < next; i++)
			merges[i].who = 0;
		add_merges(&r->people[person], merges + first, next - first);
	}
}

static void
read_past(Reader *r)
{
	char	  **ids;
	int			n = 0;

	for (int i = 0; i < r->npeople; i++)
		n += r->people[i].nids;
	ids = palloc(sizeof(char *) * Max(n, 1));
	n = 0;
	for (int i = 0; i < r->npeople; i++)
		for (int k = 0; k < r->people[i].nids; k++)
			ids[n++] = (char *) r->people[i].ids[k];
	r->b->past = emk_profile_past(ids, n, r->aliases);
}

static void
progress(Reader *r)
{
	TimestampTz now = emk_clock_monotonic();

	if (now - r->told < TELL_EVERY)
		return;
	r->told = now;
	ereport(NOTICE,
			(errmsg("backtest: %lld events of %lld profiles so far", (long long) r->b->events, (long long) r->b->people)));
}

/* Replays every rule over everybody of the chunk. */
static void
flush(Reader *r)
{
	MemoryContext old = CurrentMemoryContext;
	int			pinned;

	if (r->npeople == 0)
		return;
	SPI_connect();
	pinned = emk_spi_pin();
	MemoryContextSwitchTo(r->context);
	for (int i = 0, at = 0; i < r->npeople; at += r->people[i++].n)
	{
		r->people[i].items = r->items + at;		/* the vector may have moved */
		order_ties(r->people[i].items, r->people[i].n);
	}
	if (r->aliases)
		read_merges(r);
	if (r->ask_traits)
		read_past(r);
	MemoryContextSwitchTo(r->scratch);
	for (int i = 0; i < r->npeople; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int t = 0; t < r->b->ntried; t++)
			emk_report_simulate(r->b, &r->b->tried[t], &r->people[i]);
		MemoryContextReset(r->scratch);
	}
	r->b->people += r->npeople;
	r->b->events += r->n;
	emk_spi_unpin(pinned);
	SPI_finish();
	MemoryContextSwitchTo(old);
	start_chunk(r);
	progress(r);
}

static void
begin_person(Reader *r, text *id)
{
	EmkPerson  *p;

	if (r->n >= CHUNK_ITEMS || MemoryContextMemAllocated(r->context, false) > CHUNK_BYTES)
		flush(r);
	MemoryContextSwitchTo(r->context);
	if (r->npeople == r->people_room)
	{
		r->people_room *= 2;
		r->people = repalloc(r->people, sizeof(EmkPerson) * r->people_room);
	}
	p = &r->people[r->npeople++];
	memset(p, 0, sizeof(*p));
	p->nids = 1;
	p->ids = palloc(sizeof(char *));
	p->ids[0] = text_to_cstring(id);
}

static bool
same_text(const char *s, text *t)
{
	int			len = VARSIZE_ANY_EXHDR(t);

	return strncmp(s, VARDATA_ANY(t), len) == 0 && s[len] == '\0';
}

/* One event, as the scan gives it */
static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Reader	   *r = (Reader *) self;
	MemoryContext old = CurrentMemoryContext;
	text	   *id;
	EmkPerson  *p;
	EmkItem    *it;

	slot_getallattrs(slot);
	id = DatumGetTextPP(slot->tts_values[0]);
	if (r->npeople == 0 || !same_text(r->people[r->npeople - 1].ids[0], id))
		begin_person(r, id);
	MemoryContextSwitchTo(r->context);
	if (r->n == r->room)
	{
		r->room *= 2;
		r->items = repalloc_huge(r->items, sizeof(EmkItem) * r->room);
	}
	p = &r->people[r->npeople - 1];
	p->n++;
	it = &r->items[r->n++];
	memset(it, 0, sizeof(*it));
	it->kind = 'e';
	id = DatumGetTextPP(slot->tts_values[1]);
	it->raw_id = !r->aliases || same_text(p->ids[0], id) ? p->ids[0] : text_to_cstring(id);
	it->profile_id = p->ids[0];
	it->occurred_at = DatumGetTimestampTz(slot->tts_values[2]);
	it->event_id = DatumGetInt64(slot->tts_values[3]);
	it->name = intern(r, DatumGetTextPP(slot->tts_values[4]));
	it->properties = DatumGetJsonbPCopy(slot->tts_values[5]);
	it->message_id = slot->tts_isnull[6] ? NULL : TextDatumGetCString(slot->tts_values[6]);
	it->received_at = DatumGetTimestampTz(slot->tts_values[7]);
	it->depth = slot->tts_isnull[8] ? 0 : DatumGetInt16(slot->tts_values[8]);
	MemoryContextSwitchTo(old);
	return true;
}

static void
nothing_at_start(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
nothing(DestReceiver *self)
{
}

/* The names that some rule cares about; *any: all of the app's own events. */
static Datum
names_of(const EmkBacktest *b, bool *any)
{
	Datum	   *v;
	int			n = 0;

	for (int t = 0; t < b->ntried; t++)
		n += b->tried[t].rule->nunless + 1;
	v = palloc(sizeof(Datum) * n);
	n = 0;
	*any = false;
	for (int t = 0; t < b->ntried; t++)
		for (int i = -1; i < b->tried[t].rule->nunless; i++)
		{
			const char *name = i < 0 ? b->tried[t].rule->on_event : b->tried[t].rule->unless[i];

			*any = *any || strcmp(name, "*") == 0;
			v[n++] = CStringGetTextDatum(name);
		}
	return emk_spi_array(v, NULL, n, TEXTOID);
}

/* How far back a rule looks: its window of counting, its look-back, or everything for a count of a lifetime */
static TimestampTz
reads_from(const EmkTried *t)
{
	TimestampTz at = emk_clock_subtract(t->since, &t->rule->look_back);

	if (t->rule->at_least > 1)
		at = t->rule->within == NULL ? DT_NOBEGIN : Min(at, emk_clock_subtract(t->since, t->rule->within));
	return at;
}

static bool
may_be_parallel(const EmkBacktest *b)
{
	for (int t = 0; t < b->ntried; t++)
	{
		const EmkRule *r = b->tried[t].rule;

		if (r->cold_event || r->cold_profile || r->cold_unless || r->where_segment != 0)
			return false;
	}
	return true;
}

static ParamListInfo
make_params(const EmkBacktest *b)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID, INT8OID};
	ParamListInfo params = makeParamList(lengthof(types));
	TimestampTz from = DT_NOEND;
	bool		any;

	for (int i = 0; i < lengthof(types); i++)
	{
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	for (int t = 0; t < b->ntried; t++)
		from = Min(from, reads_from(&b->tried[t]));
	params->params[0].value = TimestampTzGetDatum(from);
	params->params[1].value = TimestampTzGetDatum(b->to);
	params->params[2].value = names_of(b, &any);
	params->params[3].value = BoolGetDatum(any);
	params->params[4].value = Int64GetDatum(b->every);
	return params;
}

static void
scan(Reader *r)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID, INT8OID};
	SPIExecuteOptions options = {0};
	SPIPlanPtr	plan;
	int			rc;

	plan = SPI_prepare_cursor(r->aliases ? joined_query : plain_query, lengthof(types), (Oid *) types,
							  CURSOR_OPT_CUSTOM_PLAN | (may_be_parallel(r->b) ? CURSOR_OPT_PARALLEL_OK : 0));
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	options.params = make_params(r->b);
	options.read_only = true;
	options.dest = &r->dest;
	rc = SPI_execute_plan_extended(plan, &options);
	if (rc < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	SPI_freeplan(plan);
}

void
emk_report_backtest(EmkBacktest *b)
{
	Reader		r = {.b = b};
	int			level = NewGUCNestLevel();

	(void) set_config_option("work_mem", GetConfigOption("maintenance_work_mem", false, false), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	r.dest.receiveSlot = receive;
	r.dest.rStartup = nothing_at_start;
	r.dest.rShutdown = nothing;
	r.dest.rDestroy = nothing;
	r.dest.mydest = DestNone;
	r.context = AllocSetContextCreate(CurrentMemoryContext, "eventmkt backtest chunk", ALLOCSET_DEFAULT_SIZES);
	r.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventmkt backtest", ALLOCSET_DEFAULT_SIZES);
	r.told = emk_clock_monotonic();
	r.aliases = emk_spi_run(&any_alias_plan, NULL, NULL, true, 1) > 0;
	for (int t = 0; t < b->ntried; t++)
		r.ask_traits = r.ask_traits || b->tried[t].rule->where_profile != NULL;
	start_chunk(&r);
	scan(&r);
	flush(&r);
	AtEOXact_GUC(true, level);
	MemoryContextDelete(r.context);
	MemoryContextDelete(r.scratch);
}
