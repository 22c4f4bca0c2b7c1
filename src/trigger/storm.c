/*
 * storm.c: how much one person may set off (S17). Of the events of one profile with one name only the first N of each minute begin
 * runs, N being the setting `profile_burst`; those beyond are the surplus.
 *
 * minute    of event time: [12:00:00, 12:01:00)
 * boundary  the Nth event of the minute in event order; the surplus is what comes after it
 *
 * The surplus begins no run and leaves a decision `storm`, one a rule, minute and batch, that says how many they were. All else goes
 * on: it cancels, it refreshes runs that live already, it counts for at_least, and it is history. Rules that begin one run a profile
 * (inactivity, a lifetime count without key) are not asked: they cannot storm, and what they would lose does not come again.
 *
 * What is surplus is a function of the committed events of this id and name alone, whatever the rules, the batches and the other
 * profiles are; events that are the same in all but their arrival are told apart by that. What had begun before an earlier event
 * came is not taken back, so late events can make it more than N.
 *
 * A replay knows the whole minute from its history, and tells of the surplus when the minute is over.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define BUCKETS 1024
#define REPORT_EVERY (10 * USECS_PER_SEC)

/* The surplus of one rule */
typedef struct Surplus
{
	const EmkRule *rule;
	const EmkItem *first;
	const char *key;			/* '' where they differ */
	int64		last;			/* event id */
	int			count;
	struct Surplus *next;
} Surplus;

/* One name of one profile in one minute */
typedef struct Minute
{
	const char *raw_id;			/* as in the events */
	const char *name;
	TimestampTz start;
	uint32		hash;
	bool		over;			/* it has a boundary: */
	TimestampTz at;
	const char *message_id;
	Jsonb	   *properties;
	int64		event_id;
	Surplus    *surplus;
	struct Minute *next;
} Minute;

struct EmkStorms
{
	TimestampTz end;			/* when the first minute with a surplus is over; DT_NOEND: there is none */
	Minute	   *buckets[BUCKETS];
};

#define OF_THE_MINUTE \
	"WHERE e.profile_id OPERATOR(pg_catalog.=) u.profile_id AND e.occurred_at OPERATOR(pg_catalog.>=) u.minute " \
	"AND e.occurred_at OPERATOR(pg_catalog.<) (u.minute OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval) " \
	"AND e.name OPERATOR(pg_catalog.=) u.name AND e.conflict_of IS NULL "

/* which minutes have more than $4 events: unsorted, and no more of them are read than that */
static EmkPlan over_plan = {
	"SELECT u.ord::pg_catalog.int4 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
	"WITH ORDINALITY AS u (profile_id, name, minute, ord) CROSS JOIN LATERAL "
	"(SELECT FROM eventmkt_data.event e " OF_THE_MINUTE "OFFSET $4 LIMIT 1) e",
	4, {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8OID}
};
static EmkPlan boundary_plan = {
	"SELECT e.occurred_at, e.message_id, e.properties, e.event_id FROM (SELECT $1, $2, $3) AS u (profile_id, name, minute) "
	"CROSS JOIN LATERAL (SELECT e.occurred_at, e.message_id, e.properties, e.event_id FROM eventmkt_data.event e " OF_THE_MINUTE
	"ORDER BY e.occurred_at, COALESCE(e.message_id, '') COLLATE \"C\", e.properties, e.event_id OFFSET $4 LIMIT 1) e",
	4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID}
};

static int
burst(EmkTake *t)
{
	if (t->burst == 0)
	{
		const char *s = emk_setting_get("profile_burst");

		t->burst = s != NULL ? Max(1, atoi(s)) : EMK_PROFILE_BURST;
	}
	return t->burst;
}

static TimestampTz
minute_of(TimestampTz t)
{
	TimestampTz rest = t % USECS_PER_MINUTE;

	return t - (rest < 0 ? rest + USECS_PER_MINUTE : rest);
}

/* The minute of an item; *is_new says that nobody has asked for it yet. */
static Minute *
find(EmkTake *t, const EmkItem *item, bool *is_new)
{
	TimestampTz start = minute_of(item->occurred_at);
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) item->raw_id, strlen(item->raw_id)),
									hash_bytes((const unsigned char *) &start, sizeof(start)));
	Minute	  **head;
	Minute	   *m;

	if (t->storms == NULL)
	{
		t->storms = palloc0(sizeof(struct EmkStorms));
		t->storms->end = DT_NOEND;
	}
	head = &t->storms->buckets[hash % BUCKETS];
	for (m = *head; m != NULL; m = m->next)
		if (m->hash == hash && m->start == start && strcmp(m->raw_id, item->raw_id) == 0 && strcmp(m->name, item->name) == 0)
		{
			*is_new = false;
			return m;
		}
	m = palloc0(sizeof(Minute));
	m->raw_id = item->raw_id;
	m->name = item->name;
	m->start = start;
	m->hash = hash;
	m->next = *head;
	*head = m;
	*is_new = true;
	return m;
}

static void
find_boundary(EmkTake *t, Minute *m)
{
	Datum		args[4] = {CStringGetTextDatum(m->raw_id), CStringGetTextDatum(m->name), TimestampTzGetDatum(m->start),
	Int64GetDatum(burst(t) - 1)};
	bool		isnull;

	if (emk_spi_run(&boundary_plan, args, NULL, false, 0) == 0)
		return;
	m->over = true;
	m->at = DatumGetTimestampTz(emk_spi_datum(0, 1, &isnull));
	m->message_id = emk_spi_text(0, 2);
	m->properties = DatumGetJsonbPCopy(emk_spi_datum(0, 3, &isnull));
	m->event_id = emk_spi_int8(0, 4, 0);
}

/* find_boundary() of a replay */
static void
find_boundary_replayed(EmkTake *t, Minute *m)
{
	const EmkHistory *h = t->history;
	int			n = 0;

	for (int i = emk_trigger_history_from(h, m->start); i < h->n && h->items[i].occurred_at < m->start + USECS_PER_MINUTE; i++)
	{
		const EmkItem *it = &h->items[i];

		if (it->kind != 'e' || strcmp(it->raw_id, m->raw_id) != 0 || strcmp(it->name, m->name) != 0 || ++n < burst(t))
			continue;
		m->over = true;
		m->at = it->occurred_at;
		m->message_id = it->message_id;
		m->properties = it->properties;
		m->event_id = it->event_id;
		break;
	}
}

/* Finds the boundaries of n minutes. */
static void
look(EmkTake *t, Minute **minutes, int n)
{
	Datum	   *v[3];
	Datum		args[4];
	int32	   *over;
	int			k;

	if (n == 0)
		return;
	for (int c = 0; c < 3; c++)
		v[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		v[0][i] = CStringGetTextDatum(minutes[i]->raw_id);
		v[1][i] = CStringGetTextDatum(minutes[i]->name);
		v[2][i] = TimestampTzGetDatum(minutes[i]->start);
	}
	args[0] = emk_spi_array(v[0], NULL, n, TEXTOID);
	args[1] = emk_spi_array(v[1], NULL, n, TEXTOID);
	args[2] = emk_spi_array(v[2], NULL, n, TIMESTAMPTZOID);
	args[3] = Int64GetDatum(burst(t));
	k = (int) emk_spi_run(&over_plan, args, NULL, false, 0);
	over = palloc(sizeof(int32) * Max(k, 1));
	for (int i = 0; i < k; i++)
		over[i] = emk_spi_int4(i, 1, 0);
	for (int i = 0; i < k; i++)
		find_boundary(t, minutes[over[i] - 1]);
}

static bool
begins_once(const EmkRule *rule)
{
	return rule->lapse || (rule->at_least > 1 && rule->within == NULL && rule->per == NULL);
}

/* Would this event begin a run at once? Where counts decide, only an edge does: it is asked for when it is found. */
static bool
may_begin(const EmkItem *item)
{
	for (int r = 0; r < item->nrules; r++)
	{
		const EmkRule *rule = emk_rule_current(item->rules[r]);

		if (rule != NULL && rule->enabled && !rule->lapse && rule->at_least <= 1 &&
			emk_rule_names_start(rule, item->name, item->depth))
			return true;
	}
	return false;
}

void
emk_trigger_expect_storms(EmkTake *t, const EmkItem *items, int n)
{
	Minute	  **fresh = palloc(sizeof(Minute *) * Max(n, 1));
	int			k = 0;
	bool		is_new;

	for (int i = 0; i < n; i++)
		if (items[i].kind == 'e' && items[i].name != NULL && may_begin(&items[i]))
		{
			fresh[k] = find(t, &items[i], &is_new);
			k += is_new;
		}
	look(t, fresh, k);
}

static void
count_surplus(EmkTake *t, Minute *m, const EmkRule *rule, const EmkItem *item, const char *key)
{
	Surplus    *s;

	for (s = m->surplus; s != NULL && s->rule != rule; s = s->next)
		;
	if (s == NULL)
	{
		EmkItem    *first = palloc(sizeof(EmkItem));

		*first = *item;
		s = palloc0(sizeof(Surplus));
		s->rule = rule;
		s->first = first;
		s->key = key;
		s->next = m->surplus;
		m->surplus = s;
		t->storms->end = Min(t->storms->end, m->start + USECS_PER_MINUTE);
	}
	else if (strcmp(s->key, key) != 0)
		s->key = "";
	s->last = item->event_id;
	s->count++;
}

bool
emk_trigger_in_storm(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	bool		is_new;
	Minute	   *m;
	int			c;

	if (item->raw_id == NULL || begins_once(rule) || (t->history != NULL && t->history->n <= burst(t)))
		return false;
	m = find(t, item, &is_new);
	if (is_new && t->history != NULL)
		find_boundary_replayed(t, m);
	else if (is_new)
		look(t, &m, 1);
	if (!m->over)
		return false;
	c = emk_trigger_compare(item->occurred_at, item->message_id, item->properties, m->at, m->message_id, m->properties);
	if (c < 0 || (c == 0 && item->event_id <= m->event_id))
		return false;
	count_surplus(t, m, rule, item, key);
	return true;
}

static void
decide(EmkTake *t, const Minute *m, const Surplus *s)
{
	EmkRun		run;
	StringInfoData facts;

	initStringInfo(&facts);
	appendStringInfo(&facts, "{\"limit\": %d, \"count\": %d, ", burst(t), s->count);
	emk_json_append_string(&facts, "event", m->name);
	appendStringInfo(&facts, ", \"minute\": \"%s\", \"last_event_id\": " INT64_FORMAT "}", timestamptz_to_str(m->start), s->last);
	memset(&run, 0, sizeof(run));
	run.profile_id = s->first->profile_id;
	run.key = s->key;
	run.event_id = s->first->event_id;
	run.started_at = s->first->occurred_at;
	emk_trigger_decide(t->decisions, &run, s->rule, "suppressed", "storm", facts.data);
}

TimestampTz
emk_trigger_storm_end(const EmkTake *t)
{
	return t->storms != NULL ? t->storms->end : DT_NOEND;
}

int
emk_trigger_tell_storms(EmkTake *t, TimestampTz until, int *minutes)
{
	int			events = 0;

	*minutes = 0;
	if (emk_trigger_storm_end(t) > until || emk_trigger_storm_end(t) == DT_NOEND)
		return 0;
	t->storms->end = DT_NOEND;
	for (int b = 0; b < BUCKETS; b++)
		for (Minute *m = t->storms->buckets[b]; m != NULL; m = m->next)
		{
			if (m->surplus == NULL)
				continue;
			if (m->start + USECS_PER_MINUTE > until)
			{
				t->storms->end = Min(t->storms->end, m->start + USECS_PER_MINUTE);
				continue;
			}
			for (Surplus *s = m->surplus; s != NULL; s = s->next)
			{
				decide(t, m, s);
				events += s->count;
			}
			m->surplus = NULL;
			(*minutes)++;
		}
	return events;
}

void
emk_trigger_end_storms(EmkTake *t)
{
	static int64 last_report = 0;
	int64		now;
	int			minutes;
	int			events = emk_trigger_tell_storms(t, DT_NOEND, &minutes);

	if (events == 0)
		return;
	now = emk_clock_monotonic();
	if (last_report != 0 && now - last_report < REPORT_EVERY)
		return;
	last_report = now;
	ereport(LOG,
			(errmsg("eventmkt: a storm: %d starts beyond the limit of %d events of one name a profile and minute began nothing",
					events, burst(t)),
			 errdetail("The batch has %d such minutes. Decisions with reason \"storm\" say whose.", minutes)));
}
