/*
 * outbox.c: the only writer of new deliveries, and what an operator may do to old ones.
 *
 * State of a delivery (eventmkt_data.delivery.status), with the function of each change:
 *
 *   (run is due) --emk_outbox_insert--> queued, or in_flight with the lease of the worker that made it
 *   queued, retrying --emk_claim--> in_flight            the gates passed; lease and attempts are set
 *   queued, retrying --emk_claim--> cancelled            a gate said no
 *   in_flight --emk_settle--> delivered | retrying | dead
 *   in_flight --emk_lease_free_lost--> retrying               the worker that held the lease is gone
 *   dead, delivered --redeliver--> queued                same id, same body; `was` keeps the status it had
 *   queued, retrying --drop_endpoint--> cancelled
 *
 * A message that was delivered stays delivered when a redelivery of it is refused or its endpoint dropped.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define CANCEL_BATCH 5000
#define COUNTER_BITS 14			/* of an id: the place in its batch */
#define YEARS_AHEAD (UINT64CONST(10) * 365 * 86400 * 1000)	/* milliseconds; an id from later was made by somebody else */
#define CLOCK_STEP	1000		/* microseconds; keeping a clock right comes to that in seconds, and asking costs one look at an index */

static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, "
	"attempts, next_attempt_at, lease, schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, "
	"first_sent_at, depth, priority, ordered) "
	"SELECT u.id, $18, u.run_id, u.rule_id, u.rule, u.rule_version, u.profile_id, u.key, u.endpoint_id, "
	"CASE WHEN u.mine THEN 'in_flight' ELSE 'queued' END, u.mine::pg_catalog.int4, "
	"CASE WHEN u.behind THEN 'infinity' ELSE $20 END, CASE WHEN u.mine THEN $19 END, "
	"e.schedule, u.body, u.event_id, u.started_at, u.received_at, u.run_created_at, u.due_at, $20, "
	"CASE WHEN u.mine THEN $20 END, u.depth, u.priority, u.ordered "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), "
	"pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14), "
	"pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17), pg_catalog.unnest($21), pg_catalog.unnest($22)) "
	"AS u (id, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, mine, body, event_id, started_at, "
	"received_at, run_created_at, due_at, depth, priority, ordered, behind) "
	"JOIN eventmkt_data.endpoint e ON e.endpoint_id OPERATOR(pg_catalog.=) u.endpoint_id", 22,
	{UUIDARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
		BOOLARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID, INT2ARRAYOID, INT4ARRAYOID, INT2OID, INT8OID, TIMESTAMPTZOID, BOOLARRAYOID, BOOLARRAYOID}
};
static EmkPlan newest_plan = {
	"SELECT id FROM eventmkt_data.delivery ORDER BY id DESC LIMIT 1", 0, {0}
};
static EmkPlan known_plan = {
	"SELECT endpoint_id, schedule, ordered FROM eventmkt_data.endpoint WHERE endpoint_id OPERATOR(pg_catalog.=) ANY ($1)", 1,
	{INT4ARRAYOID}
};
static EmkPlan log_plan = {
	"INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us, status, error, response) "
	"SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))", 7,
	{UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
};
static EmkPlan cancel_plan = {
	"UPDATE eventmkt_data.delivery AS d SET settled_at = $2, last_error = 'the endpoint was dropped', "
	"status = CASE WHEN x.was OPERATOR(pg_catalog.=) 'delivered' THEN x.was ELSE 'cancelled' END "
	"FROM (SELECT id, was FROM eventmkt_data.delivery WHERE endpoint_id OPERATOR(pg_catalog.=) $1 "
	"AND waiting LIMIT 5000 FOR UPDATE) AS x "
	"WHERE d.id OPERATOR(pg_catalog.=) x.id "
	"RETURNING d.id, CASE WHEN x.was IS NULL THEN d.run_id END, d.rule_id, d.rule, d.rule_version, "
	"d.profile_id, d.key, d.event_id, d.started_at, d.due_at, d.status", 2, {INT4OID, TIMESTAMPTZOID}
};

/* Microseconds since 1970 of an id, 0 when it is none of ours */
static uint64
time_of(const pg_uuid_t *id, uint64 now)
{
	uint64		ms = 0;

	for (int b = 0; b < 6; b++)
		ms = ms << 8 | id->data[b];
	return id->data[6] >> 4 != 7 || ms > now / 1000 + YEARS_AHEAD ? 0 : ms * 1000 + 999;
}

int64
emk_outbox_lead(void)
{
	uint64		real = emk_clock_real() + ((uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	bool		isnull;

	if (emk_spi_run(&newest_plan, NULL, NULL, false, 1) != 1)
		return 0;
	return (int64) time_of(DatumGetUUIDP(emk_spi_datum(0, 1, &isnull)), real) - (int64) real;
}

/*
 * Ids for new deliveries, of version 7: real time, the place in the batch, 48 random bits. They rise: within a batch, from one to the
 * next, and beyond what the table held when this process made its first, or its first since the clock of the machine was set back.
 */
static void
make_ids(EmkOutbox *rows, int n)
{
	static uint64 last = 0;
	static int64 lead = 0;		/* of the wall clock over the monotonic one, when the table was asked */
	int64		lead_now = emk_clock_real() - emk_clock_monotonic();
	uint64		real = emk_clock_real() + ((uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	uint64		begun;
	uint8		random[64 * 6];

	/* who was idle while the clock was set back knows nothing of the ids that others made before that */
	if ((last == 0 || lead - lead_now > CLOCK_STEP) && emk_spi_run(&newest_plan, NULL, NULL, false, 1) == 1)
	{
		bool		isnull;
		uint64		newest = time_of(DatumGetUUIDP(emk_spi_datum(0, 1, &isnull)), real);

		last = Max(last, newest);
	}
	if (lead == 0 || lead - lead_now > CLOCK_STEP || lead_now > lead)
		lead = lead_now;
	begun = Max(real, last + 1);
	last = begun + (n >> COUNTER_BITS);
	for (int i = 0; i < n; i++)
	{
		uint8	   *d = rows[i].id.data;
		uint64		us = begun + (i >> COUNTER_BITS);
		uint64		fraction = us % 1000 * 4096 / 1000;

		if (i % 64 == 0 && !pg_strong_random(random, Min(n - i, 64) * 6))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		for (int b = 0; b < 6; b++)
			d[b] = us / 1000 >> (40 - 8 * b);
		d[6] = 0x70 | fraction >> 8;
		d[7] = fraction;
		d[8] = 0x80 | (i >> 8 & 0x3f);
		d[9] = i;
		memcpy(d + 10, random + i % 64 * 6, 6);
	}
}

/* ---- new deliveries ---- */

/* A batch on its way into the table */
typedef struct Batch
{
	EmkOutbox **rows;
	Datum	   *schedules;
	int64		lease;
	TimestampTz now;
} Batch;

static void
set_text(Datum *v, bool *isnull, int column, const char *text)
{
	isnull[column] = text == NULL;
	v[column] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

static void
form_delivery(const void *rows, int i, Datum *v, bool *isnull)
{
	const Batch *batch = rows;
	const EmkOutbox *o = batch->rows[i];
	bool		mine = o->in_flight && batch->lease != 0;

	memset(isnull, 0, sizeof(bool) * EMK_DELIVERY_COLUMNS);
	v[EMK_DELIVERY_ID] = UUIDPGetDatum(&o->id);
	v[EMK_DELIVERY_NODE] = Int16GetDatum(emk_setting_node());
	v[EMK_DELIVERY_RUN_ID] = Int64GetDatum(o->run_id);
	v[EMK_DELIVERY_RULE_ID] = Int32GetDatum(o->rule_id);
	set_text(v, isnull, EMK_DELIVERY_RULE, o->rule);
	v[EMK_DELIVERY_RULE_VERSION] = Int32GetDatum(o->rule_version);
	set_text(v, isnull, EMK_DELIVERY_PROFILE_ID, o->profile_id);
	set_text(v, isnull, EMK_DELIVERY_KEY, o->key);
	v[EMK_DELIVERY_ENDPOINT_ID] = Int32GetDatum(o->endpoint_id);
	set_text(v, isnull, EMK_DELIVERY_STATUS, mine ? "in_flight" : "queued");
	v[EMK_DELIVERY_ATTEMPTS] = Int32GetDatum(mine ? 1 : 0);
	v[EMK_DELIVERY_NEXT_ATTEMPT_AT] = TimestampTzGetDatum(o->behind ? DT_NOEND : batch->now);
	v[EMK_DELIVERY_LEASE] = Int64GetDatum(batch->lease);
	isnull[EMK_DELIVERY_LEASE] = !mine;
	v[EMK_DELIVERY_SCHEDULE] = batch->schedules[i];
	set_text(v, isnull, EMK_DELIVERY_BODY, o->body);
	v[EMK_DELIVERY_EVENT_ID] = Int64GetDatum(o->event_id);
	v[EMK_DELIVERY_STARTED_AT] = TimestampTzGetDatum(o->started_at);
	v[EMK_DELIVERY_RECEIVED_AT] = TimestampTzGetDatum(o->received_at);
	v[EMK_DELIVERY_RUN_CREATED_AT] = TimestampTzGetDatum(o->run_created_at);
	v[EMK_DELIVERY_DUE_AT] = TimestampTzGetDatum(o->due_at);
	v[EMK_DELIVERY_CREATED_AT] = v[EMK_DELIVERY_FIRST_SENT_AT] = TimestampTzGetDatum(batch->now);
	isnull[EMK_DELIVERY_FIRST_SENT_AT] = !mine;
	isnull[EMK_DELIVERY_SETTLED_AT] = isnull[EMK_DELIVERY_WAS] = true;
	v[EMK_DELIVERY_DEPTH] = Int16GetDatum(o->depth);
	v[EMK_DELIVERY_PRIORITY] = Int32GetDatum(o->priority);
	isnull[EMK_DELIVERY_LAST_STATUS] = isnull[EMK_DELIVERY_LAST_ERROR] = true;
	v[EMK_DELIVERY_LATE_CANCEL] = BoolGetDatum(false);
	v[EMK_DELIVERY_ORDERED] = BoolGetDatum(o->ordered);
	v[EMK_DELIVERY_WAITING] = v[EMK_DELIVERY_LANE] = BoolGetDatum(!mine);
	isnull[EMK_DELIVERY_DIED_AT] = true;
	isnull[EMK_DELIVERY_LANE] = !o->ordered;
}

static void
place_delivery(const void *rows, int i, ItemPointer tid)
{
	((const Batch *) rows)->rows[i]->tid = *tid;
}

static const Oid delivery_types[EMK_DELIVERY_COLUMNS] = {
	UUIDOID, INT2OID, INT8OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID,
	INT4ARRAYOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT2OID, INT4OID, INT4OID, TEXTOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID, BOOLOID
};
static EmkSink delivery_sink = {"delivery", EMK_DELIVERY_COLUMNS, delivery_types, form_delivery, place_delivery, true};

int
emk_outbox_rewrite(ItemPointer *tids, int n, EmkEdit edit, void *rows, bool *done)
{
	return emk_event_rewrite(&delivery_sink, tids, n, edit, rows, done);
}

bool
emk_outbox_status_is(Datum status, const char *name)
{
	const text *t = DatumGetTextPP(status);

	return VARSIZE_ANY_EXHDR(t) == strlen(name) && memcmp(VARDATA_ANY(t), name, strlen(name)) == 0;
}

void
emk_outbox_suppressed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("a change of eventmkt_data.delivery was suppressed"),
			 errhint("Remove the trigger or rule on the table that does so.")));
}

/* A run whose endpoint is gone ends here. */
static void
bury(EmkOutbox *o, TimestampTz now)
{
	EmkDecision d = {
		.run_id = o->run_id, .rule_id = o->rule_id, .rule = o->rule, .rule_version = o->rule_version,
		.profile_id = o->profile_id, .key = o->key, .outcome = "dead", .reason = "endpoint_dropped",
		.event_id = o->event_id, .started_at = o->started_at, .due_at = o->due_at
	};

	o->in_flight = false;
	emk_event_decide(&d, 1, now);
}

/* Finds the schedules of the endpoints; those whose endpoint is gone are buried. Fills the batch; returns its size. */
static int
prepare(Batch *batch, EmkOutbox *rows, int n)
{
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum		arg;
	int			nids = 0;
	int			live = 0;
	uint64		known;
	int		   *gone = palloc(sizeof(int) * n);
	int			ngone = 0;
	EmkOutbox **lined = palloc(sizeof(EmkOutbox *) * n);
	int			nlined = 0;

	for (int i = 0; i < n; i++)
	{
		int			k = 0;

		while (k < nids && DatumGetInt32(ids[k]) != rows[i].endpoint_id)
			k++;
		if (k == nids)
			ids[nids++] = Int32GetDatum(rows[i].endpoint_id);
	}
	arg = emk_spi_array(ids, NULL, nids, INT4OID);
	known = emk_spi_run(&known_plan, &arg, NULL, false, 0);
	batch->rows = palloc(sizeof(EmkOutbox *) * n);
	batch->schedules = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		uint64		k = 0;
		bool		isnull;

		while (k < known && emk_spi_int4(k, 1, 0) != rows[i].endpoint_id)
			k++;
		ItemPointerSetInvalid(&rows[i].tid);
		if (k == known)
			gone[ngone++] = i;
		else
		{
			batch->schedules[live] = live > 0 && batch->rows[live - 1]->endpoint_id == rows[i].endpoint_id ?
				batch->schedules[live - 1] : PointerGetDatum(DatumGetArrayTypePCopy(emk_spi_datum(k, 2, &isnull)));
			batch->rows[live++] = &rows[i];
			/* what an endpoint is told of a segment is of no single person, and has an order of its own */
			rows[i].ordered = emk_spi_bool(k, 3, false) && rows[i].rule_id != 0;
			if (rows[i].ordered)
				lined[nlined++] = &rows[i];
		}
	}
	emk_lane_line_up(lined, nlined);
	for (int i = 0; i < ngone; i++)
		bury(&rows[gone[i]], batch->now);
	return live;
}

/* One array of the insert: a column of the rows. */
#define COLUMN(index, type, expression) \
	do { \
		for (int i = 0; i < n; i++) \
		{ \
			const EmkOutbox *o = rows[i]; \
			cells[i] = (expression); \
		} \
		values[index] = emk_spi_array(cells, NULL, n, type); \
	} while (0)

static void
insert_by_statement(EmkOutbox **rows, int n, int64 lease, TimestampTz now)
{
	Datum		values[22];
	Datum	   *cells = palloc(sizeof(Datum) * n);

	COLUMN(0, UUIDOID, UUIDPGetDatum(&o->id));
	COLUMN(1, INT8OID, Int64GetDatum(o->run_id));
	COLUMN(2, INT4OID, Int32GetDatum(o->rule_id));
	COLUMN(3, TEXTOID, CStringGetTextDatum(o->rule));
	COLUMN(4, INT4OID, Int32GetDatum(o->rule_version));
	COLUMN(5, TEXTOID, CStringGetTextDatum(o->profile_id));
	COLUMN(6, TEXTOID, CStringGetTextDatum(o->key));
	COLUMN(7, INT4OID, Int32GetDatum(o->endpoint_id));
	COLUMN(8, BOOLOID, BoolGetDatum(o->in_flight && lease != 0));
	COLUMN(9, TEXTOID, CStringGetTextDatum(o->body));
	COLUMN(10, INT8OID, Int64GetDatum(o->event_id));
	COLUMN(11, TIMESTAMPTZOID, TimestampTzGetDatum(o->started_at));
	COLUMN(12, TIMESTAMPTZOID, TimestampTzGetDatum(o->received_at));
	COLUMN(13, TIMESTAMPTZOID, TimestampTzGetDatum(o->run_created_at));
	COLUMN(14, TIMESTAMPTZOID, TimestampTzGetDatum(o->due_at));
	COLUMN(15, INT2OID, Int16GetDatum(o->depth));
	COLUMN(16, INT4OID, Int32GetDatum(o->priority));
	values[17] = Int16GetDatum(emk_setting_node());
	values[18] = Int64GetDatum(lease);
	values[19] = TimestampTzGetDatum(now);
	COLUMN(20, BOOLOID, BoolGetDatum(o->ordered));
	COLUMN(21, BOOLOID, BoolGetDatum(o->behind));
	if (emk_spi_run(&insert_plan, values, NULL, false, 0) != (uint64) n)
		emk_outbox_suppressed();
}

void
emk_outbox_insert(EmkOutbox *rows, int n, int64 lease, TimestampTz now)
{
	Batch		batch = {.lease = lease, .now = now};
	int			live;
	int			written;
	bool		queued = false;

	if (n == 0)
		return;
	make_ids(rows, n);
	live = prepare(&batch, rows, n);
	written = emk_event_write(&delivery_sink, &batch, live);
	if (written < live)
		insert_by_statement(batch.rows + written, live - written, lease, now);
	for (int i = 0; i < live && !queued; i++)
		queued = !batch.rows[i]->in_flight;
	if (queued)
		emk_wake_at_commit();
}

/* ---- tries ---- */

static void
form_attempt(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkAttempt *a = (const EmkAttempt *) rows + i;

	memset(isnull, 0, sizeof(bool) * 7);
	v[0] = UUIDPGetDatum(a->delivery_id);
	v[1] = Int32GetDatum(a->attempt);
	v[2] = TimestampTzGetDatum(a->started_at);
	v[3] = Int64GetDatum(a->latency_us);
	v[4] = Int32GetDatum(a->status);
	isnull[4] = a->status == 0;
	set_text(v, isnull, 5, a->error);
	set_text(v, isnull, 6, a->response);
}

void
emk_outbox_log(const EmkAttempt *tries, int n)
{
	static const Oid types[] = {UUIDOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT4OID, TEXTOID, TEXTOID};
	static EmkSink sink = {"attempt", lengthof(types), types, form_attempt};
	int			written = emk_event_write(&sink, tries, n);

	if (written < n)
		emk_event_run_arrays(&log_plan, &sink, tries + written, n - written);
}

/* ---- an endpoint that was dropped ---- */

uint64
emk_outbox_cancel_endpoint(int32 endpoint_id, TimestampTz now)
{
	Datum		args[2] = {Int32GetDatum(endpoint_id), TimestampTzGetDatum(now)};
	uint64		total = 0;
	uint64		n;

	do
	{
		EmkDecision *d;
		int			ndecided = 0;

		n = emk_spi_run(&cancel_plan, args, NULL, false, 0);
		d = palloc0(sizeof(EmkDecision) * Max(n, 1));
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;

			if (strcmp(emk_spi_text(i, 11), "cancelled") != 0)
				continue;
			d[ndecided++] = (EmkDecision) {
				.delivery_id = DatumGetUUIDP(emk_spi_datum(i, 1, &isnull)), .run_id = emk_spi_int8(i, 2, 0),
				.rule_id = emk_spi_int4(i, 3, 0), .rule = emk_spi_text(i, 4), .rule_version = emk_spi_int4(i, 5, 0),
				.profile_id = emk_spi_text(i, 6), .key = emk_spi_text(i, 7), .outcome = "cancelled",
				.reason = "endpoint_dropped", .event_id = emk_spi_int8(i, 8, 0),
				.started_at = DatumGetTimestampTz(emk_spi_datum(i, 9, &isnull)),
				.due_at = DatumGetTimestampTz(emk_spi_datum(i, 10, &isnull))
			};
		}
		emk_event_decide(d, ndecided, now);
		total += n;
	} while (n == CANCEL_BATCH);
	return total;
}
