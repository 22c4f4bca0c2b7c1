/*
 * backtest_read.c: one scan of the event table for all rules of a backtest, in the order of the heap: only events whose names some rule
 * cares about. Each is packed into one of 64 parts by a hash of its person, so a part holds whole people; what goes beyond
 * maintenance_work_mem waits in temporary files. Then part after part is put in order and replayed (backtest_part.c). So memory
 * is bounded by maintenance_work_mem, and by one part, and nothing is sorted but the events of one person.
 *
 * The scan may run in parallel: nothing but packing is done in it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/tablespace.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "report/backtest.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define EVENTS_A_BREATH 10000
#define FIRST_ROOM 8192
#define NAME_SLOTS 1024

#define EVENT_COLUMNS \
	"e.profile_id, e.occurred_at, e.event_id, e.name, e.properties, e.message_id, e.received_at, e.depth "
#define EVENT_FILTER \
	"WHERE e.occurred_at OPERATOR(pg_catalog.>=) $1 AND e.occurred_at OPERATOR(pg_catalog.<=) $2 " \
	"AND (e.name OPERATOR(pg_catalog.=) ANY ($3) OR $4 AND e.depth OPERATOR(pg_catalog.=) 0) AND e.conflict_of IS NULL "
#define SAMPLED(id) \
	"AND ($5 OPERATOR(pg_catalog.=) 1 OR (pg_catalog.hashtextextended(" id ", 0) OPERATOR(pg_catalog.&) 1073741823) " \
	"OPERATOR(pg_catalog.%) $5 OPERATOR(pg_catalog.=) 0) "

static const char *const plain_query =
	"SELECT e.profile_id, " EVENT_COLUMNS "FROM eventmkt_data.event e " EVENT_FILTER SAMPLED("e.profile_id");
static const char *const joined_query =
	"SELECT COALESCE(a.profile_id, e.profile_id), " EVENT_COLUMNS "FROM eventmkt_data.event e "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) e.profile_id "
	EVENT_FILTER SAMPLED("COALESCE(a.profile_id, e.profile_id)");
static EmkPlan any_alias_plan = {
	"SELECT 1 FROM eventmkt_data.alias LIMIT 1", 0, {0}
};
typedef struct Reader
{
	DestReceiver dest;
	EmkBacktestData *data;
	EmkBacktest *backtest;
	MemoryContext context;		/* of packed events and names */
	MemoryContext scratch;		/* of one row that had to be detoasted */
	Size		packed;			/* bytes in memory */
	uint32		seen[NAME_SLOTS];	/* by hash: number of a name + 1 */
} Reader;

/* A name as a small number; the same names come again and again. */
static uint32
name_number(Reader *r, text *name)
{
	EmkBacktestData *d = r->data;
	int			len = VARSIZE_ANY_EXHDR(name);
	uint32	   *seen = &r->seen[hash_bytes((unsigned char *) VARDATA_ANY(name), len) % NAME_SLOTS];
	uint32		n;

	if (*seen > 0 && strncmp(d->names[*seen - 1], VARDATA_ANY(name), len) == 0 && d->names[*seen - 1][len] == '\0')
		return *seen - 1;
	for (n = 0; n < (uint32) d->nnames; n++)
		if (strncmp(d->names[n], VARDATA_ANY(name), len) == 0 && d->names[n][len] == '\0')
		{
			*seen = n + 1;
			return n;
		}
	if (d->nnames == d->names_room)
	{
		d->names_room *= 2;
		d->names = repalloc(d->names, sizeof(char *) * d->names_room);
	}
	d->names[d->nnames++] = text_to_cstring(name);
	*seen = n + 1;
	return n;
}

static void
spill(Reader *r)
{
	for (int i = 0; i < EMK_BACKTEST_PARTS; i++)
	{
		EmkBacktestPart *p = &r->data->parts[i];

		CHECK_FOR_INTERRUPTS();
		if (p->len == 0)
			continue;
		if (p->file == NULL)
			p->file = BufFileCreateTemp(false);
		BufFileWrite(p->file, p->packed, p->len);
		p->written += p->len;
		p->len = 0;
	}
	r->packed = 0;
}

/* Room for one more packed event of `size` bytes */
static char *
room_for(Reader *r, EmkBacktestPart *p, Size size)
{
	if (r->packed + size > (Size) maintenance_work_mem * 1024)
		spill(r);
	if (p->len + size > p->room)
	{
		p->room = Max(Max(p->room * 2, FIRST_ROOM), p->len + size);
		p->packed = p->packed == NULL ? palloc(p->room) : repalloc_huge(p->packed, p->room);
	}
	p->len += size;
	r->packed += size;
	return p->packed + p->len - size;
}

static char *
put_text(char *to, text *t)
{
	int			len = VARSIZE_ANY_EXHDR(t);

	memcpy(to, VARDATA_ANY(t), len);
	to[len] = '\0';
	return to + len + 1;
}

/* One event, as the scan gives it */
static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Reader	   *r = (Reader *) self;
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	text	   *canonical;
	text	   *raw;
	text	   *message = NULL;
	Jsonb	   *properties;
	uint64		hash;
	Size		ids;
	Size		size;
	EmkPacked  *e;
	char	   *at;

	slot_getallattrs(slot);
	canonical = DatumGetTextPP(slot->tts_values[0]);
	raw = DatumGetTextPP(slot->tts_values[1]);
	if (!slot->tts_isnull[6])
		message = DatumGetTextPP(slot->tts_values[6]);
	properties = DatumGetJsonbP(slot->tts_values[5]);
	hash = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(canonical), VARSIZE_ANY_EXHDR(canonical), 0));
	ids = VARSIZE_ANY_EXHDR(canonical) + 1 + (r->data->aliases ? VARSIZE_ANY_EXHDR(raw) + 1 : 0) +
		(message ? VARSIZE_ANY_EXHDR(message) + 1 : 0);
	size = MAXALIGN(sizeof(EmkPacked) + ids) + MAXALIGN(VARSIZE(properties));
	MemoryContextSwitchTo(r->context);
	e = (EmkPacked *) room_for(r, &r->data->parts[hash % EMK_BACKTEST_PARTS], size);
	e->size = size;
	e->name = name_number(r, DatumGetTextPP(slot->tts_values[4]));
	e->hash = hash;
	e->occurred_at = DatumGetTimestampTz(slot->tts_values[2]);
	e->event_id = DatumGetInt64(slot->tts_values[3]);
	e->received_at = DatumGetTimestampTz(slot->tts_values[7]);
	e->depth = slot->tts_isnull[8] ? 0 : DatumGetInt16(slot->tts_values[8]);
	e->raw = e->message = 0;
	at = put_text((char *) e + sizeof(EmkPacked), canonical);
	if (r->data->aliases)
	{
		e->raw = at - (char *) e;
		at = put_text(at, raw);
	}
	if (message)
	{
		e->message = at - (char *) e;
		put_text(at, message);
	}
	e->properties = MAXALIGN(sizeof(EmkPacked) + ids);
	memcpy((char *) e + e->properties, properties, VARSIZE(properties));
	MemoryContextReset(r->scratch);
	MemoryContextSwitchTo(old);
	if (++r->data->n % EVENTS_A_BREATH == 0 && emk_report_backtest_tells(r->backtest))
		ereport(NOTICE, (errmsg("backtest: %lld events read so far", (long long) r->data->n)));
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

void
emk_report_backtest_read(EmkBacktest *b, EmkBacktestData *data)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID, INT8OID};
	Reader		r = {.data = data, .backtest = b, .context = CurrentMemoryContext};
	SPIExecuteOptions options = {0};
	SPIPlanPtr	plan;
	int			rc;

	r.dest.receiveSlot = receive;
	r.dest.rStartup = nothing_at_start;
	r.dest.rShutdown = nothing;
	r.dest.rDestroy = nothing;
	r.dest.mydest = DestNone;
	r.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventmkt backtest row", ALLOCSET_SMALL_SIZES);
	data->names_room = 64;
	data->names = palloc(sizeof(char *) * data->names_room);
	data->aliases = emk_spi_run(&any_alias_plan, NULL, NULL, true, 1) > 0;
	PrepareTempTablespaces();
	plan = SPI_prepare_cursor(data->aliases ? joined_query : plain_query, lengthof(types), (Oid *) types,
							  CURSOR_OPT_CUSTOM_PLAN | CURSOR_OPT_PARALLEL_OK);
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	options.params = make_params(b);
	options.read_only = true;
	options.dest = &r.dest;
	rc = SPI_execute_plan_extended(plan, &options);
	if (rc < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	SPI_freeplan(plan);
	MemoryContextDelete(r.scratch);
	b->events = data->n;
}
