/*
 * take.c: the first half of a pass: work rows with their events, sorted into event order, each doing what its rules ask.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "trigger/trigger_int.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define FAILURES_TO_DISABLE 20

/*
 * Work rows carry no index: they are taken from the head of the heap, where dead ones are pruned by the scan itself. The
 * canonical id and the traits come by one index probe each, the events by one a profile and time, as a batch can hold thousands
 * of one moment; LATERAL with LIMIT keeps them probes.
 */
static EmkPlan take_plan = {
	"WITH t AS (DELETE FROM eventmkt_data.work WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT ctid FROM eventmkt_data.work WHERE node OPERATOR(pg_catalog.=) $2 AND ($4 OPERATOR(pg_catalog.=) 1 OR "
	"(pg_catalog.hashtext(profile_id) OPERATOR(pg_catalog.&) 65535) OPERATOR(pg_catalog.%) $4 OPERATOR(pg_catalog.=) $3) "
	"LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING kind, event_id, profile_id, occurred_at, rules) "
	"SELECT t.kind, t.event_id, t.profile_id, COALESCE(a.profile_id, t.profile_id), t.occurred_at, t.rules, p.traits FROM t "
	"LEFT JOIN LATERAL (SELECT a.profile_id FROM eventmkt_data.alias a "
	"WHERE a.alias OPERATOR(pg_catalog.=) t.profile_id LIMIT 1) a ON true "
	"LEFT JOIN LATERAL (SELECT p.traits FROM eventmkt_data.profile p "
	"WHERE p.profile_id OPERATOR(pg_catalog.=) COALESCE(a.profile_id, t.profile_id) LIMIT 1) p ON true",
	4, {INT8OID, INT2OID, INT4OID, INT4OID}
};
static EmkPlan events_plan = {
	"SELECT u.ord, e.event_id, e.name, e.properties, e.message_id, e.received_at, e.depth "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6)) AS u (ord, profile_id, occurred_at, low, high, most) CROSS JOIN LATERAL "
	"(SELECT e.event_id, e.name, e.properties, e.message_id, e.received_at, e.depth FROM eventmkt_data.event e "
	"WHERE e.profile_id OPERATOR(pg_catalog.=) u.profile_id AND e.occurred_at OPERATOR(pg_catalog.=) u.occurred_at "
	"AND e.event_id OPERATOR(pg_catalog.>=) u.low AND e.event_id OPERATOR(pg_catalog.<=) u.high "
	"AND (u.low OPERATOR(pg_catalog.=) u.high OR e.event_id OPERATOR(pg_catalog.=) ANY ($7)) LIMIT u.most) e",
	7, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID}
};

EmkDecision *
emk_trigger_decide(EmkDecisions *list, const EmkRun *run, const EmkRule *rule, const char *outcome, const char *reason,
				   const char *facts)
{
	EmkDecision *d;

	if (list->n == list->room)
	{
		list->room = Max(64, list->room * 2);
		list->v = list->v == NULL ? palloc(sizeof(EmkDecision) * list->room) :
			repalloc(list->v, sizeof(EmkDecision) * list->room);
	}
	d = &list->v[list->n++];
	memset(d, 0, sizeof(*d));
	d->run_id = run->run_id;
	d->rule_id = rule->rule_id;
	d->rule = rule->name;
	d->rule_version = rule->version;
	d->profile_id = run->profile_id;
	d->key = run->key;
	d->outcome = outcome;
	d->reason = reason;
	d->facts = facts;
	d->event_id = run->event_id;
	d->started_at = run->started_at;
	d->due_at = run->due_at;
	return d;
}

int
emk_trigger_compare(TimestampTz at1, const char *mid1, Jsonb *p1, TimestampTz at2, const char *mid2, Jsonb *p2)
{
	int			c;

	if (at1 != at2)
		return at1 < at2 ? -1 : 1;
	c = strcmp(mid1 ? mid1 : "", mid2 ? mid2 : "");
	return c != 0 ? c : compareJsonbContainers(&p1->root, &p2->root);
}

void
emk_trigger_condition_failed(const EmkRule *rule, const char *error)
{
	static int32 failing_rule = 0;
	static int	failures = 0;

	failures = failing_rule == rule->rule_id ? failures + 1 : 1;
	failing_rule = rule->rule_id;
	if (failures >= FAILURES_TO_DISABLE)
	{
		failures = 0;
		ereport(LOG, (errmsg("eventmkt: rule \"%s\" is disabled because its condition keeps failing", rule->name)));
		emk_rule_disable(rule->rule_id, psprintf("condition keeps failing: %s", error));
	}
}

static void
read_item(uint64 row, EmkItem *it)
{
	bool		isnull;
	Datum		d;

	memset(it, 0, sizeof(*it));
	it->kind = DatumGetChar(emk_spi_datum(row, 1, &isnull));
	it->event_id = emk_spi_int8(row, 2, 0);
	it->raw_id = emk_spi_text(row, 3);
	it->profile_id = emk_spi_text(row, 4);
	it->occurred_at = DatumGetTimestampTz(emk_spi_datum(row, 5, &isnull));
	it->rules = NULL;
	d = emk_spi_datum(row, 6, &isnull);
	if (!isnull)
	{
		ArrayType  *a = DatumGetArrayTypePCopy(d);

		it->nrules = ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
		it->rules = (int32 *) ARR_DATA_PTR(a);
	}
	d = emk_spi_datum(row, 7, &isnull);
	it->traits = isnull ? emk_json_parse("{}") : DatumGetJsonbPCopy(d);
}

static bool
same_moment(const EmkItem *x, const EmkItem *y)
{
	return x->occurred_at == y->occurred_at && strcmp(x->raw_id, y->raw_id) == 0;
}

static int
compare_places(const void *a, const void *b)
{
	const EmkItem *x = *(EmkItem *const *) a;
	const EmkItem *y = *(EmkItem *const *) b;
	int			c = strcmp(x->raw_id, y->raw_id);

	if (c != 0)
		return c;
	if (x->occurred_at != y->occurred_at)
		return x->occurred_at < y->occurred_at ? -1 : 1;
	return x->event_id < y->event_id ? -1 : x->event_id > y->event_id;
}

/* One event that was read, to the item (or items: work can be left twice) that has its id, from at[first] on. */
static void
read_event(uint64 row, EmkItem **at, int first, int k)
{
	int64		id = emk_spi_int8(row, 2, 0);
	int			low = first;
	int			high = k;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (same_moment(at[mid], at[first]) && at[mid]->event_id < id)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < k && at[low]->event_id == id && same_moment(at[low], at[first]); low++)
	{
		EmkItem    *it = at[low];
		bool		isnull;
		Datum		d;

		it->name = emk_spi_text(row, 3);
		it->properties = DatumGetJsonbPCopy(emk_spi_datum(row, 4, &isnull));
		it->message_id = emk_spi_text(row, 5);
		it->received_at = DatumGetTimestampTz(emk_spi_datum(row, 6, &isnull));
		d = emk_spi_datum(row, 7, &isnull);
		it->depth = isnull ? 0 : DatumGetInt16(d);
	}
}

/* Reads the events of the items. One that is gone (retention, erasure) leaves its item without a name. */
static void
read_events(EmkItem *items, int n)
{
	EmkItem   **at = palloc(sizeof(EmkItem *) * n);
	Datum	   *v[6];
	Datum	   *shared;
	Datum		args[7];
	int			k = 0;
	int			groups = 0;
	int			nshared = 0;

	for (int i = 0; i < n; i++)
		if (items[i].kind == 'e')
			at[k++] = &items[i];
	if (k == 0)
		return;
	qsort(at, k, sizeof(EmkItem *), compare_places);
	for (int c = 0; c < 6; c++)
		v[c] = palloc(sizeof(Datum) * k);
	shared = palloc(sizeof(Datum) * k);
	for (int first = 0, next; first < k; first = next)
	{
		for (next = first + 1; next < k && same_moment(at[next], at[first]); next++)
			;
		v[0][groups] = Int32GetDatum(first);
		v[1][groups] = CStringGetTextDatum(at[first]->raw_id);
		v[2][groups] = TimestampTzGetDatum(at[first]->occurred_at);
		v[3][groups] = Int64GetDatum(at[first]->event_id);
		v[4][groups] = Int64GetDatum(at[next - 1]->event_id);
		v[5][groups++] = Int32GetDatum(at[first]->event_id == at[next - 1]->event_id ? 1 : PG_INT32_MAX);
		/* between two ids may lie any number of others', which this batch does not have */
		for (int i = first; next - first > 1 && i < next; i++)
			shared[nshared++] = Int64GetDatum(at[i]->event_id);
	}
	args[0] = emk_spi_array(v[0], NULL, groups, INT4OID);
	args[1] = emk_spi_array(v[1], NULL, groups, TEXTOID);
	args[2] = emk_spi_array(v[2], NULL, groups, TIMESTAMPTZOID);
	args[3] = emk_spi_array(v[3], NULL, groups, INT8OID);
	args[4] = emk_spi_array(v[4], NULL, groups, INT8OID);
	args[5] = emk_spi_array(v[5], NULL, groups, INT4OID);
	args[6] = emk_spi_array(shared, NULL, nshared, INT8OID);
	emk_spi_run(&events_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
		read_event(row, at, emk_spi_int4(row, 1, 0), k);
}

/* By profile, merges first, then in event order */
static int
compare_items(const void *a, const void *b)
{
	const EmkItem *x = a;
	const EmkItem *y = b;
	int			c = strcmp(x->profile_id, y->profile_id);

	if (c != 0)
		return c;
	if (x->kind != y->kind)
		return x->kind == 'm' ? -1 : 1;
	if (x->name == NULL || y->name == NULL)
		return (x->name == NULL) - (y->name == NULL);
	return emk_trigger_compare(x->occurred_at, x->message_id, x->properties, y->occurred_at, y->message_id, y->properties);
}

void
emk_trigger_failed(const EmkTake *t, const EmkRule *rule, const char *error)
{
	if (t->history == NULL)
		emk_trigger_condition_failed(rule, error);
}

void
emk_trigger_obey(EmkTake *t, const EmkRule *rule, const EmkItem *item)
{
	if (emk_rule_names_start(rule, item->name, item->depth))
		emk_trigger_consider(t, rule, item);
	if (emk_rule_names_cancel(rule, item->name, item->depth) && !rule->lapse)
		emk_trigger_cancel(t, rule, item);
}

static void
process(EmkTake *t, const EmkItem *item)
{
	if (item->kind == 'm')
	{
		emk_trigger_merge(t, item);
		return;
	}
	for (int r = 0; r < item->nrules && item->name != NULL; r++)
	{
		const EmkRule *rule = emk_rule_current(item->rules[r]);

		if (rule != NULL && rule->enabled)
			emk_trigger_obey(t, rule, item);
	}
}

static void
prepare(EmkTake *t, TimestampTz now, EmkDecisions *decisions)
{
	memset(t, 0, sizeof(*t));
	t->now = now;
	t->decisions = decisions;
	t->nbuckets = EMK_TAKE_BUCKETS;
	t->buckets = palloc0(sizeof(EmkRun *) * EMK_TAKE_BUCKETS);
}

/* Could this late event begin or move a run that another pass, which goes on with what was cancelled, is making at this moment? */
static bool
is_late_start(const EmkItem *item, TimestampTz now)
{
	if (item->kind != 'e' || item->name == NULL || item->occurred_at > now - EMK_TRIGGER_YOUNG)
		return false;
	for (int r = 0; r < item->nrules; r++)
	{
		const EmkRule *rule = emk_rule_current(item->rules[r]);

		if (rule != NULL && rule->enabled && rule->nunless > 0 && emk_trigger_has_series(rule) &&
			emk_rule_names_start(rule, item->name, item->depth))
			return true;
	}
	return false;
}

/*
 * Before the runs are read: what is read after the wait for another pass, in one statement with it, would not have the runs that that pass
 * began. A young start is after all others, and meets such a run at its place (slot 0), so most go without.
 */
static void
lock_late_starts(const EmkItem *items, int n, TimestampTz now)
{
	const char **ids = palloc(sizeof(char *) * n * 2);
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		if (items[i].kind == 'm')
			ids[k++] = items[i].raw_id;
		if ((items[i].kind == 'm' || is_late_start(&items[i], now)) && (k == 0 || strcmp(ids[k - 1], items[i].profile_id) != 0))
			ids[k++] = items[i].profile_id;
	}
	(void) emk_trigger_lock_people(ids, k, EMK_PEOPLE_PLACE);
	pfree(ids);
}

/* Are there starts after that, from which a run that a cancelling event ended begins anew? */
static bool
has_starts_after(const EmkRun *run, TimestampTz after)
{
	return run->nstarts > 0 && run->last_at > after;
}

bool
emk_trigger_may_restart(const EmkRule *rule, const EmkRun *run, TimestampTz cancel_at)
{
	return !has_starts_after(run, emk_clock_add(cancel_at, &rule->look_back)) ||
		emk_trigger_lock_people(&run->profile_id, 1, EMK_PEOPLE_RESTART);
}

/*
 * The gate asks about one run; the others of its rule and profile are read here, or lent by the pass that has them in hand. None of the
 * starts is asked about: all were let in.
 */
void
emk_trigger_restart(const EmkRule *rule, const EmkRun *run, TimestampTz cancel_at, TimestampTz now, EmkDecisions *decisions,
					EmkRun **others, int n)
{
	int32		rule_id = rule->rule_id;
	EmkItem		item = {.kind = 'e', .profile_id = run->profile_id, .rules = &rule_id, .nrules = 1};
	TimestampTz after = emk_clock_add(cancel_at, &rule->look_back);
	EmkRuns		due = {0};
	EmkTake		t;

	if (!has_starts_after(run, after))
		return;
	prepare(&t, now, decisions);
	emk_trigger_load(&t, &item, 1);
	emk_trigger_place_after_gate(&t, rule, run, after, others, n);
	emk_trigger_end_storms(&t);
	emk_trigger_save(&t, &due);
	emk_trigger_put(due.v, due.n);
	pfree(t.buckets);
}

int
emk_trigger_take_work(int max, int slot, int slots, TimestampTz now, EmkRuns *due, EmkDecisions *decisions)
{
	Datum		args[4] = {Int64GetDatum(max), Int16GetDatum(emk_setting_node()), Int32GetDatum(slot), Int32GetDatum(slots)};
	EmkTake		t;
	EmkItem    *items;
	int			n;

	n = (int) emk_spi_run(&take_plan, args, NULL, false, 0);
	if (n == 0)
		return 0;
	items = palloc(sizeof(EmkItem) * n);
	for (int i = 0; i < n; i++)
		read_item(i, &items[i]);
	read_events(items, n);
	qsort(items, n, sizeof(EmkItem), compare_items);

	prepare(&t, now, decisions);
	lock_late_starts(items, n, now);
	emk_trigger_load(&t, items, n);
	emk_trigger_expect_storms(&t, items, n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		process(&t, &items[i]);
	}
	emk_trigger_absorb(&t);
	emk_trigger_end_storms(&t);	/* starts that absorbing began again are counted, too */
	emk_trigger_late_cancels(&t, items, n);
	emk_trigger_save(&t, due);
	return n;
}
