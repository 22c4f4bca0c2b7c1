/*
 * lookback.c: questions to the history of one profile, in event order.
 *
 * A count of n within w is reached at event e when exactly n − 1 matching events lie before it (in event order) and not more
 * than w earlier: the count was below n just before e and is n at e. It is a function of the history alone, so it re-arms by
 * itself when the count falls below n, and a late event moves the edge instead of making another.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

#define MAX_WINDOW_EVENTS 100000

static EmkPlan history_plan = {
	"SELECT e.event_id, e.name, e.properties, e.occurred_at, e.message_id, e.received_at, e.depth, e.profile_id "
	"FROM eventmkt_data.event e WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND ($2 OPERATOR(pg_catalog.=) '*' AND e.depth OPERATOR(pg_catalog.=) 0 OR e.name OPERATOR(pg_catalog.=) $2) "
	"AND e.occurred_at OPERATOR(pg_catalog.>=) $3 AND e.occurred_at OPERATOR(pg_catalog.<=) $4 "
	"AND e.conflict_of IS NULL "
	"ORDER BY e.occurred_at, COALESCE(e.message_id, '') COLLATE \"C\", e.properties, e.event_id LIMIT 100001",
	4, {TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static EmkPlan start_plan = {
	"SELECT e.event_id, e.name, e.properties, e.occurred_at, e.message_id, e.received_at, e.depth, e.profile_id "
	"FROM eventmkt_data.event e WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.occurred_at OPERATOR(pg_catalog.=) $2 "
	"AND e.event_id OPERATOR(pg_catalog.=) $3 LIMIT 1",
	3, {TEXTARRAYOID, TIMESTAMPTZOID, INT8OID}
};

/* has a count without `within` been reached? That is once a version and key. */
static EmkPlan reached_plan = {
	"SELECT 1 WHERE EXISTS (SELECT 1 FROM eventmkt_data.delivery d WHERE d.profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND d.rule_id OPERATOR(pg_catalog.=) $2 AND d.key OPERATOR(pg_catalog.=) $3 AND d.rule_version OPERATOR(pg_catalog.=) $4) "
	"OR EXISTS (SELECT 1 FROM eventmkt_data.decision d WHERE d.profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND d.rule_id OPERATOR(pg_catalog.=) $2 AND d.key OPERATOR(pg_catalog.=) $3 AND d.rule_version OPERATOR(pg_catalog.=) $4 "
	"AND d.run_id IS NOT NULL AND d.outcome OPERATOR(pg_catalog.<>) ALL ('{held,late_cancel}'))",
	4, {TEXTARRAYOID, INT4OID, TEXTOID, INT4OID}
};

/* the newest that could cancel, first */
static EmkPlan cancels_plan = {
	"SELECT e.event_id, e.name, e.properties, e.occurred_at, e.depth FROM eventmkt_data.event e "
	"WHERE e.profile_id OPERATOR(pg_catalog.=) ANY ($1) AND e.occurred_at OPERATOR(pg_catalog.>=) $2 "
	"AND (e.name OPERATOR(pg_catalog.=) ANY ($3) OR '*' OPERATOR(pg_catalog.=) ANY ($3) AND e.depth OPERATOR(pg_catalog.=) 0) "
	"AND e.conflict_of IS NULL ORDER BY e.occurred_at DESC, e.event_id DESC LIMIT 1000",
	3, {TEXTARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID}
};

static Datum
ids_of(const char *profile_id)
{
	char	   *canonical = (char *) profile_id;
	EmkIds		ids;
	Datum	   *d;

	emk_profile_ids(&canonical, 1, &ids);
	d = palloc(sizeof(Datum) * ids.n);
	for (int i = 0; i < ids.n; i++)
		d[i] = CStringGetTextDatum(ids.ids[i]);
	return emk_spi_array(d, NULL, ids.n, TEXTOID);
}

static bool
matches(const EmkRule *rule, const EmkItem *it, const char *key)
{
	char	   *its_key = emk_rule_key(rule, it->properties);

	return its_key != NULL && strcmp(its_key, key) == 0 &&
		emk_rule_test(rule->where_event, rule->cold_event, it->properties, &(char *) {NULL});
}

int
emk_trigger_history_from(const EmkHistory *h, TimestampTz at)
{
	int			low = 0;
	int			high = h->n;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (h->items[mid].occurred_at < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* matching() of a replay. What will happen is there as well: whether a count is reached at an event depends on earlier ones alone. */
static int
matching_replayed(const EmkHistory *h, const EmkRule *rule, const char *profile_id, const char *key, TimestampTz from,
				  TimestampTz to, EmkItem **out)
{
	int			first = emk_trigger_history_from(h, from);
	int			k = 0;
	int			room = 0;

	*out = NULL;
	for (int i = first; i < h->n && h->items[i].occurred_at <= to; i++)
	{
		const EmkItem *it = &h->items[i];

		if (it->kind != 'e' || h->owner[it->who] != profile_id || !emk_rule_names_start(rule, it->name, it->depth) ||
			!matches(rule, it, key))
			continue;
		if (k == room)
		{
			room = Max(64, room * 2);
			*out = *out == NULL ? palloc(sizeof(EmkItem) * room) : repalloc_huge(*out, sizeof(EmkItem) * room);
		}
		(*out)[k] = *it;
		(*out)[k++].profile_id = profile_id;
	}
	return k;
}

/* A row of history_plan, all but the id that the event came with */
static void
read_event(uint64 row, const char *profile_id, EmkItem *it)
{
	bool		isnull;
	Datum		d;

	memset(it, 0, sizeof(*it));
	it->kind = 'e';
	it->event_id = emk_spi_int8(row, 1, 0);
	it->profile_id = profile_id;
	it->name = emk_spi_text(row, 2);
	it->properties = DatumGetJsonbPCopy(emk_spi_datum(row, 3, &isnull));
	it->occurred_at = DatumGetTimestampTz(emk_spi_datum(row, 4, &isnull));
	it->message_id = emk_spi_text(row, 5);
	it->received_at = DatumGetTimestampTz(emk_spi_datum(row, 6, &isnull));
	d = emk_spi_datum(row, 7, &isnull);
	it->depth = isnull ? 0 : DatumGetInt16(d);
}

/* The matching starting events of a rule and key in [from, to], in event order. */
static int
matching(EmkHistory *h, const EmkRule *rule, const char *profile_id, const char *key, Jsonb *traits, TimestampTz from, TimestampTz to,
		 EmkItem **out, TimestampTz *complete_to)
{
	Datum		args[4];
	uint64		n;
	SPITupleTable *rows;
	int			k = 0;

	*complete_to = to;
	if (h != NULL)
		return matching_replayed(h, rule, profile_id, key, from, to, out);
	args[0] = ids_of(profile_id);
	args[1] = CStringGetTextDatum(rule->on_event);
	args[2] = TimestampTzGetDatum(from);
	args[3] = TimestampTzGetDatum(to);
	n = emk_spi_run(&history_plan, args, NULL, false, 0);
	rows = SPI_tuptable;
	*out = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(EmkItem) * Max(n, 1));
	for (uint64 i = 0; i < n && i < MAX_WINDOW_EVENTS; i++)
	{
		EmkItem    *it = &(*out)[k];

		SPI_tuptable = rows;
		read_event(i, profile_id, it);
		it->traits = traits;
		if (matches(rule, it, key))
		{
			SPI_tuptable = rows;
			it->raw_id = emk_spi_text(i, 8);
			k++;
		}
		if (n > MAX_WINDOW_EVENTS)
			*complete_to = it->occurred_at;
	}
	SPI_freetuptable(rows);
	return k;
}

/*
 * The events in [from + within, to] at which the count reaches at_least, in event order; *complete_to says up to where, which is
 * less than `to` where the history is too long.
 */
static int
find_edges(EmkHistory *h, const EmkRule *rule, const char *profile_id, const char *key, Jsonb *traits, TimestampTz from, TimestampTz to,
		   EmkItem **out, TimestampTz *complete_to)
{
	EmkItem    *all;
	int			n = matching(h, rule, profile_id, key, traits, from, to, &all, complete_to);
	int		   *edges = palloc(sizeof(int) * Max(n, 1));
	int			first = 0;		/* the oldest event in the window that ends at all[i] */
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		if (rule->within)
		{
			TimestampTz opens = emk_clock_subtract(all[i].occurred_at, rule->within);

			if (opens < from)
				continue;
			while (all[first].occurred_at < opens)
				first++;
		}
		if (i - first == rule->at_least - 1)
			edges[k++] = i;
	}
	for (int i = 0; i < k; i++)
		all[i] = all[edges[i]];
	*out = all;
	return k;
}

/* What is known of the edges of one rule and key of the profile at work */
struct EmkEdges
{
	const EmkRule *rule;
	const char *key;
	TimestampTz from;			/* events from here to `to` were read */
	TimestampTz to;
	EmkItem    *v;				/* those that were given out have no name any more */
	int			n;
	EmkEdges   *next;
};

static EmkEdges *
known_edges(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	EmkEdges   *e;

	if (t->edges != NULL && strcmp(t->edges_of, item->profile_id) != 0)
		t->edges = NULL;
	t->edges_of = item->profile_id;
	for (e = t->edges; e != NULL; e = e->next)
		if (e->rule->rule_id == rule->rule_id && e->rule->version == rule->version && strcmp(e->key, key) == 0)
			return e;
	e = palloc0(sizeof(EmkEdges));
	e->rule = rule;
	e->key = key;
	e->from = DT_NOEND;
	e->to = DT_NOBEGIN;
	e->next = t->edges;
	t->edges = e;
	return e;
}

/* A replay is at each event once, in order: the edge that it is at, or none. */
static int
replayed_edge(EmkHistory *h, EmkEdges *e, const EmkItem *item, EmkItem **out)
{
	int			low = 0;
	int			high;

	if (e->to == DT_NOBEGIN)
		e->n = find_edges(h, e->rule, item->profile_id, e->key, NULL, DT_NOBEGIN, DT_NOEND, &e->v, &e->to);
	for (high = e->n; low < high;)
	{
		int			mid = (low + high) / 2;

		if (e->v[mid].occurred_at < item->occurred_at)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < e->n && e->v[low].occurred_at == item->occurred_at; low++)
		if (e->v[low].event_id == item->event_id)
		{
			*out = &e->v[low];
			return 1;
		}
	return 0;
}

static bool
is_reached(const EmkRule *rule, const char *profile_id, const char *key)
{
	Datum		args[4] = {ids_of(profile_id), Int32GetDatum(rule->rule_id), CStringGetTextDatum(key),
	Int32GetDatum(rule->version)};

	return emk_spi_run(&reached_plan, args, NULL, false, 1) > 0;
}

/*
 * A count without `within` that was reached and decided has no edge any more, so its history need not be read at each further event:
 * a late event can only move the edge back, and absorbing would take it for the decided one.
 *
 * A batch can hold thousands of events of one profile, each inside the windows of the others: the second that asks reads to the
 * end, once for all that follow in event order.
 */
int
emk_trigger_edges(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, EmkItem **out)
{
	TimestampTz from = rule->within ? emk_clock_subtract(item->occurred_at, rule->within) : DT_NOBEGIN;
	TimestampTz to = rule->within ? emk_clock_add(item->occurred_at, rule->within) : DT_NOEND;
	EmkEdges   *e = known_edges(t, rule, item, key);
	int			low = 0;
	int			high;
	int			k = 0;

	if (t->history != NULL)
		return replayed_edge(t->history, e, item, out);
	if (rule->within == NULL && e->from == DT_NOEND && is_reached(rule, item->profile_id, key))
	{
		e->from = DT_NOBEGIN;
		e->to = DT_NOEND;
	}
	if (from < e->from || to > e->to)
	{
		EmkItem    *old = e->v;
		int			nold = e->n;

		e->n = find_edges(NULL, rule, item->profile_id, key, item->traits, from, e->from == DT_NOEND ? to : DT_NOEND,
						  &e->v, &e->to);
		e->from = from;
		for (int i = 0; i < nold; i++)
			for (int j = 0; j < e->n && old[i].name == NULL; j++)
				if (e->v[j].event_id == old[i].event_id)
					e->v[j].name = NULL;
	}
	for (high = e->n; low < high;)
	{
		int			mid = (low + high) / 2;

		if (e->v[mid].occurred_at < item->occurred_at)
			low = mid + 1;
		else
			high = mid;
	}
	for (high = low; high < e->n && e->v[high].occurred_at <= to; high++)
		;
	*out = palloc(sizeof(EmkItem) * Max(high - low, 1));
	for (int i = low; i < high; i++)
		/* of those at the same time, one before it in event order was an edge without it */
		if (e->v[i].name != NULL && (e->v[i].occurred_at > item->occurred_at || e->v[i].event_id == item->event_id ||
									 emk_trigger_compare(e->v[i].occurred_at, e->v[i].message_id, e->v[i].properties,
														 item->occurred_at, item->message_id, item->properties) > 0))
		{
			(*out)[k++] = e->v[i];
			e->v[i].name = NULL;
		}
	return k;
}

/* One that is known by its time only: the newest that matches, from before there were records. */
static bool
read_by_time(const EmkRule *rule, const char *profile_id, const char *key, TimestampTz at, EmkItem *out)
{
	TimestampTz complete_to;
	EmkItem    *all;
	int			n = matching(NULL, rule, profile_id, key, NULL, at, at, &all, &complete_to);

	if (n == 0)
		return false;
	*out = all[n - 1];
	return true;
}

bool
emk_trigger_read_start(EmkHistory *h, const EmkRule *rule, const char *profile_id, const char *key, const EmkStart *s, EmkItem *out)
{
	Datum		args[3];
	bool		found;

	for (int i = h ? emk_trigger_history_from(h, s->at) : 0; h != NULL && i < h->n && h->items[i].occurred_at == s->at; i++)
		if (h->items[i].kind == 'e' && h->items[i].event_id == s->event_id)
		{
			*out = h->items[i];
			out->profile_id = profile_id;
			return true;
		}
	if (h != NULL)
		return false;
	if (s->event_id == 0)
		return read_by_time(rule, profile_id, key, s->at, out);
	args[0] = ids_of(profile_id);
	args[1] = TimestampTzGetDatum(s->at);
	args[2] = Int64GetDatum(s->event_id);
	found = emk_spi_run(&start_plan, args, NULL, false, 0) > 0;
	if (found)
	{
		read_event(0, profile_id, out);
		out->raw_id = emk_spi_text(0, 8);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

static bool
cancels(const EmkRule *rule, const EmkRun *run, const EmkItem *item, bool *key_absent)
{
	char	   *key = emk_rule_key(rule, item->properties);

	*key_absent = key == NULL;
	return (key == NULL || strcmp(key, run->key) == 0) &&
		emk_rule_cancels(rule, item->name, item->depth, item->properties, &(char *) {NULL});
}

static bool
was_cancelled_replayed(const EmkHistory *h, const EmkRule *rule, const EmkRun *run, EmkItem *out, bool *key_absent)
{
	TimestampTz since = emk_clock_subtract(run->started_at, &rule->look_back);

	for (int i = h->known - 1; i >= 0 && h->items[i].occurred_at >= since; i--)
		if (h->items[i].kind == 'e' && h->owner[h->items[i].who] == run->profile_id &&
			emk_rule_names_cancel(rule, h->items[i].name, h->items[i].depth) && cancels(rule, run, &h->items[i], key_absent))
		{
			*out = h->items[i];
			return true;
		}
	return false;
}

bool
emk_trigger_was_cancelled(const EmkHistory *h, const EmkRule *rule, const EmkRun *run, EmkItem *out, bool *key_absent)
{
	Datum	   *names = palloc(sizeof(Datum) * (rule->nunless + 1));
	Datum		args[3];
	SPITupleTable *rows;
	uint64		n;
	bool		found = false;

	if (h != NULL)
		return was_cancelled_replayed(h, rule, run, out, key_absent);
	for (int i = 0; i < rule->nunless; i++)
		names[i] = CStringGetTextDatum(rule->unless[i]);
	args[0] = ids_of(run->profile_id);
	args[1] = TimestampTzGetDatum(emk_clock_subtract(run->started_at, &rule->look_back));
	args[2] = emk_spi_array(names, NULL, rule->nunless, TEXTOID);
	n = emk_spi_run(&cancels_plan, args, NULL, false, 0);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n && !found; i++)
	{
		bool		isnull;
		Datum		depth;

		SPI_tuptable = rows;
		depth = emk_spi_datum(i, 5, &isnull);
		memset(out, 0, sizeof(*out));
		out->depth = isnull ? 0 : DatumGetInt16(depth);
		out->event_id = emk_spi_int8(i, 1, 0);
		out->name = emk_spi_text(i, 2);
		out->properties = DatumGetJsonbPCopy(emk_spi_datum(i, 3, &isnull));
		out->occurred_at = DatumGetTimestampTz(emk_spi_datum(i, 4, &isnull));
		found = cancels(rule, run, out, key_absent);
	}
	SPI_freetuptable(rows);
	return found;
}

/* Who was in the audience then is not known any more: every starting event of the key counts. */
bool
emk_trigger_is_followed(const EmkRule *rule, const EmkRun *run, TimestampTz to)
{
	TimestampTz complete_to;
	EmkItem    *all;
	int			n = matching(NULL, rule, run->profile_id, run->key, NULL, run->event_at, to, &all, &complete_to);

	for (int i = n - 1; i >= 0; i--)
	{
		int			c = emk_trigger_compare(all[i].occurred_at, all[i].message_id, all[i].properties, run->event_at, run->message_id,
											run->properties);

		if (c > 0 || (c == 0 && all[i].event_id > run->event_id))
			return true;
	}
	return false;
}

bool
emk_trigger_is_edge(const EmkRule *rule, const EmkRun *run)
{
	TimestampTz from = rule->within ? emk_clock_subtract(run->started_at, rule->within) : DT_NOBEGIN;
	TimestampTz complete_to;
	EmkItem    *edges;
	int			n = find_edges(NULL, rule, run->profile_id, run->key, NULL, from, run->started_at, &edges, &complete_to);

	for (int i = 0; i < n; i++)
		if (edges[i].occurred_at == run->started_at)
			return true;
	return complete_to < run->started_at;	/* too long a history to tell */
}

TimestampTz
emk_trigger_next_edge(const EmkRule *rule, const EmkRun *run, TimestampTz to)
{
	TimestampTz complete_to;
	EmkItem    *edges;
	int			n;

	if (rule->within == NULL)
		return DT_NOEND;		/* it is reached once */
	n = find_edges(NULL, rule, run->profile_id, run->key, NULL, emk_clock_subtract(run->started_at, rule->within), to,
				   &edges, &complete_to);
	for (int i = 0; i < n; i++)
		if (edges[i].occurred_at > run->started_at)
			return edges[i].occurred_at;
	return DT_NOEND;
}
