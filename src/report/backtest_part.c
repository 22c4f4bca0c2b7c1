/*
 * backtest_part.c: one part of what backtest_read.c packed: put together by person and in event order, with merges and the past of traits,
 * and replayed under each rule (backtest_sim.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "report/backtest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define PEOPLE_A_QUERY 2000
#define TELL_EVERY (5 * USECS_PER_SEC)

static EmkPlan merges_plan = {
	"SELECT u.n::pg_catalog.int4, m.from_id, m.into_id, m.merged_at FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
	"AS u (n, id) JOIN eventmkt_data.merge_log m ON m.into_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"WHERE m.refused IS NULL AND m.undone_at IS NULL AND m.merged_at OPERATOR(pg_catalog.<=) $3 "
	"ORDER BY u.n, m.merged_at, m.merge_id", 3, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

/* A part at work */
typedef struct Part
{
	EmkBacktest *b;
	EmkBacktestData *data;
	MemoryContext scratch;		/* of one replay */
	bool		ask_traits;
	int64		replayed;		/* events */
	EmkItem    *items;			/* by person */
	EmkPerson  *people;
	int			npeople;
} Part;

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
read_merges(Part *r, EmkPerson *people, int n)
{
	char	  **canonical = palloc(sizeof(char *) * n);
	EmkIds	   *ids = palloc(sizeof(EmkIds) * n);
	Datum	   *v[2];
	Datum		args[3];
	EmkItem    *merges;
	int			total = 0;
	int			found;

	for (int i = 0; i < n; i++)
		canonical[i] = (char *) people[i].ids[0];
	emk_profile_ids(canonical, n, ids);
	for (int i = 0; i < n; i++)
		total += ids[i].n;
	v[0] = palloc(sizeof(Datum) * total);
	v[1] = palloc(sizeof(Datum) * total);
	total = 0;
	for (int i = 0; i < n; i++)
	{
		EmkPerson  *p = &people[i];

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
	found = (int) emk_spi_run(&merges_plan, args, NULL, true, 0);
	merges = palloc0(sizeof(EmkItem) * Max(found, 1));
	for (int i = 0; i < found; i++)
	{
		bool		isnull;

		merges[i].kind = 'm';
		merges[i].raw_id = emk_spi_text(i, 2);
		merges[i].profile_id = emk_spi_text(i, 3);
		merges[i].occurred_at = DatumGetTimestampTz(emk_spi_datum(i, 4, &isnull));
		merges[i].who = emk_spi_int4(i, 1, 0);
	}
	for (int first = 0, next; first < found; first = next)
	{
		int			person = merges[first].who;

		for (next = first; next < found && merges[next].who == person; next++)
			;
		for (int i = first; i < next; i++)
			merges[i].who = 0;
		add_merges(&people[person], merges + first, next - first);
	}
}

static void
read_past(Part *r, EmkPerson *people, int n)
{
	char	  **ids;
	int			k = 0;

	for (int i = 0; i < n; i++)
		k += people[i].nids;
	ids = palloc(sizeof(char *) * Max(k, 1));
	k = 0;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < people[i].nids; j++)
			ids[k++] = (char *) people[i].ids[j];
	r->b->past = emk_profile_past(ids, k, r->data->aliases);
}

bool
emk_report_backtest_tells(EmkBacktest *b)
{
	int64		now = emk_clock_monotonic();

	if (now - b->told < TELL_EVERY)
		return false;
	b->told = now;
	return true;
}

static void
progress(Part *r)
{
	if (!emk_report_backtest_tells(r->b))
		return;
	ereport(NOTICE,
			(errmsg("backtest: %lld profiles with %lld events so far, of %lld events", (long long) r->b->people,
					(long long) r->replayed, (long long) r->b->events)));
}

/* Replays every rule over n people. */
static void
replay(Part *r, EmkPerson *people, int n)
{
	MemoryContext old = CurrentMemoryContext;
	int			pinned;

	SPI_connect();
	pinned = emk_spi_pin();
	MemoryContextSwitchTo(old);
	if (r->data->aliases)
		read_merges(r, people, n);
	if (r->ask_traits)
		read_past(r, people, n);
	MemoryContextSwitchTo(r->scratch);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int t = 0; t < r->b->ntried; t++)
			emk_report_simulate(r->b, &r->b->tried[t], &people[i]);
		MemoryContextReset(r->scratch);
		r->replayed += people[i].n;
	}
	r->b->people += n;
	emk_spi_unpin(pinned);
	SPI_finish();
	MemoryContextSwitchTo(old);
	progress(r);
}

/* All of a part in memory */
static char *
load(EmkBacktestPart *p, Size *len)
{
	char	   *packed;

	*len = p->written + p->len;
	if (p->file == NULL)
		return p->packed;
	packed = palloc_extended(*len, MCXT_ALLOC_HUGE);
	if (BufFileSeek(p->file, 0, 0, SEEK_SET) != 0 || BufFileRead(p->file, packed, p->written) != p->written)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read a temporary file of a backtest: %m")));
	memcpy(packed + p->written, p->packed, p->len);
	BufFileClose(p->file);
	p->file = NULL;
	return packed;
}

/* Whose is each event? Numbers people in `who`, an event each; people[].n counts theirs. */
static void
number_people(Part *r, const char *packed, Size len, int n, int32 *who)
{
	uint32		mask = 16;
	int32	   *table;
	int			room = 1024;
	int			i = 0;

	while (mask < (uint32) n * 2)
		mask *= 2;
	table = palloc_extended(sizeof(int32) * mask, MCXT_ALLOC_HUGE);
	memset(table, 0xff, sizeof(int32) * mask);
	mask--;
	r->people = palloc(sizeof(EmkPerson) * room);
	r->npeople = 0;
	for (Size at = 0; at < len; i++)
	{
		const EmkPacked *e = (const EmkPacked *) (packed + at);
		const char *id = (const char *) (e + 1);
		uint32		slot = (uint32) (e->hash >> 32) & mask;

		CHECK_FOR_INTERRUPTS();
		while (table[slot] >= 0 && (r->people[table[slot]].hash != e->hash || strcmp(r->people[table[slot]].ids[0], id) != 0))
			slot = (slot + 1) & mask;
		if (table[slot] < 0)
		{
			EmkPerson  *p;

			if (r->npeople == room)
			{
				room *= 2;
				r->people = repalloc_huge(r->people, sizeof(EmkPerson) * room);
			}
			table[slot] = r->npeople;
			p = &r->people[r->npeople++];
			memset(p, 0, sizeof(*p));
			p->hash = e->hash;
			p->nids = 1;
			p->ids = palloc(sizeof(char *));
			p->ids[0] = id;
		}
		who[i] = table[slot];
		r->people[who[i]].n++;
		at += e->size;
	}
	pfree(table);
}

static void
unpack(const Part *r, const EmkPacked *e, const EmkPerson *p, EmkItem *it)
{
	it->kind = 'e';
	it->event_id = e->event_id;
	it->profile_id = p->ids[0];
	it->raw_id = e->raw ? (const char *) e + e->raw : p->ids[0];
	it->occurred_at = e->occurred_at;
	it->rules = NULL;
	it->nrules = 0;
	it->name = r->data->names[e->name];
	it->name_no = e->name;
	it->properties = (Jsonb *) ((char *) e + e->properties);
	it->message_id = e->message ? (const char *) e + e->message : NULL;
	it->received_at = e->received_at;
	it->depth = e->depth;
	it->traits = NULL;
	it->who = 0;
}

/* Events of the same microsecond come in the order of message id and properties, not in that of the scan. */
static int
compare_items(const void *a, const void *b)
{
	const EmkItem *x = a;
	const EmkItem *y = b;
	int			c;

	CHECK_FOR_INTERRUPTS();
	c = emk_trigger_compare(x->occurred_at, x->message_id, x->properties, y->occurred_at, y->message_id, y->properties);
	return c != 0 ? c : x->event_id < y->event_id ? -1 : x->event_id > y->event_id;
}

/* Puts the events of each person together, in the order of time. */
static void
gather(Part *r, const char *packed, Size len, int n, const int32 *who)
{
	int		   *next = palloc_extended(sizeof(int) * Max(r->npeople, 1), MCXT_ALLOC_HUGE);
	bool	   *unsorted = palloc0(sizeof(bool) * Max(r->npeople, 1));
	int			i = 0;

	r->items = palloc_extended(sizeof(EmkItem) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int k = 0, first = 0; k < r->npeople; first += r->people[k++].n)
	{
		r->people[k].items = r->items + first;
		next[k] = 0;
	}
	for (Size at = 0; at < len; i++)
	{
		const EmkPacked *e = (const EmkPacked *) (packed + at);
		EmkPerson  *p = &r->people[who[i]];
		EmkItem    *it = &p->items[next[who[i]]++];

		CHECK_FOR_INTERRUPTS();
		unpack(r, e, p, it);
		if (it > p->items && it[-1].occurred_at >= it->occurred_at)
			unsorted[who[i]] = true;
		at += e->size;
	}
	for (int k = 0; k < r->npeople; k++)
		if (unsorted[k])
			qsort(r->people[k].items, r->people[k].n, sizeof(EmkItem), compare_items);
}

/* Which names each rule cares about, asked once a name */
static void
note_names(EmkBacktest *b, const EmkBacktestData *data)
{
	for (int t = 0; t < b->ntried; t++)
	{
		EmkTried   *tried = &b->tried[t];

		tried->cares = palloc(sizeof(bool) * Max(data->nnames, 1));
		for (int i = 0; i < data->nnames; i++)
			tried->cares[i] = emk_rule_names_start(tried->rule, data->names[i], 0) ||
				emk_rule_names_cancel(tried->rule, data->names[i], 0);
	}
}

void
emk_report_backtest_part(EmkBacktest *b, EmkBacktestData *data)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventmkt backtest part", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Part		r = {.b = b, .data = data};

	MemoryContextSwitchTo(old);
	note_names(b, data);
	MemoryContextSwitchTo(context);
	r.scratch = AllocSetContextCreate(old, "eventmkt backtest", ALLOCSET_DEFAULT_SIZES);
	for (int t = 0; t < b->ntried; t++)
		r.ask_traits = r.ask_traits || b->tried[t].rule->where_profile != NULL || b->tried[t].rule->where_segment != 0;
	for (int i = 0; i < EMK_BACKTEST_PARTS; i++)
	{
		EmkBacktestPart *p = &data->parts[i];
		Size		len;
		char	   *packed = load(p, &len);
		int32	   *who;
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		for (Size at = 0; at < len; at += ((EmkPacked *) (packed + at))->size)
			n++;
		who = palloc_extended(sizeof(int32) * Max(n, 1), MCXT_ALLOC_HUGE);
		number_people(&r, packed, len, n, who);
		gather(&r, packed, len, n, who);
		for (int k = 0; k < r.npeople; k += PEOPLE_A_QUERY)
			replay(&r, r.people + k, Min(PEOPLE_A_QUERY, r.npeople - k));
		if (p->packed != NULL)
			pfree(p->packed);
		p->packed = NULL;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	MemoryContextDelete(r.scratch);
}
