/*
 * store.c: runs as rows. The only writer of pending_trigger, set-based: one statement reads, one deletes, one changes, one inserts
 * a batch. A changed run is updated, not replaced: another pass that waits for its row lock then goes on with the new version.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

#define RUN_NCOLS EMK_RUN_NCOLS
#define START_BYTES 20			/* of a stored start: time, event id, version, each in network order */

static EmkPlan load_plan = {
	"SELECT " EMK_RUN_COLUMNS ", p.ctid FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
	"AS u (u_profile, u_rule) JOIN eventmkt_data.pending_trigger p ON p.profile_id OPERATOR(pg_catalog.=) u.u_profile "
	"AND p.rule_id OPERATOR(pg_catalog.=) u.u_rule FOR UPDATE OF p",
	2, {TEXTARRAYOID, INT4ARRAYOID}
};
static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.pending_trigger WHERE ctid OPERATOR(pg_catalog.=) ANY ($1)", 1, {1010 /* tid[] */ }
};
static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.pending_trigger (node, " EMK_RUN_COLUMNS ") "
	"SELECT $21, u.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
	"pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
	"pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16), "
	"pg_catalog.unnest($17), pg_catalog.unnest($18), pg_catalog.unnest($19), pg_catalog.unnest($20)) AS u ON CONFLICT DO NOTHING",
	21, {INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	INT2ARRAYOID, BYTEAARRAYOID, INT2OID}
};
static EmkPlan update_plan = {
	"UPDATE eventmkt_data.pending_trigger AS p SET rule_version = u.c3, profile_id = u.c4, key = u.c5, slot = u.c6, state = u.c7, "
	"started_at = u.c8, event_id = u.c9, event_name = u.c10, event_at = u.c11, message_id = u.c12, properties = u.c13, "
	"last_at = u.c14, due_at = u.c15, wake_at = u.c16, received_at = u.c17, depth = u.c19, starts = u.c20 "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
	"pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
	"pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16), "
	"pg_catalog.unnest($17), pg_catalog.unnest($18), pg_catalog.unnest($19), pg_catalog.unnest($20), pg_catalog.unnest($21)) "
	"AS u (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, tid) "
	"WHERE p.ctid OPERATOR(pg_catalog.=) u.tid",
	21, {INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	INT2ARRAYOID, BYTEAARRAYOID, 1010 /* tid[] */ }
};
static EmkPlan take_due_plan = {
	"DELETE FROM eventmkt_data.pending_trigger WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT ctid FROM eventmkt_data.pending_trigger WHERE wake_at OPERATOR(pg_catalog.>=) $1 "
	"AND wake_at OPERATOR(pg_catalog.<=) $2 AND node OPERATOR(pg_catalog.=) $4 "
	"ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING " EMK_RUN_COLUMNS,
	4, {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT2OID}
};
static EmkPlan next_wake_plan = {
	"SELECT wake_at FROM eventmkt_data.pending_trigger WHERE wake_at OPERATOR(pg_catalog.>=) $1 "
	"AND wake_at OPERATOR(pg_catalog.<) 'infinity' AND node OPERATOR(pg_catalog.=) $2 ORDER BY wake_at LIMIT 1",
	2, {TIMESTAMPTZOID, INT2OID}
};
void
emk_trigger_push(EmkRuns *runs, EmkRun *run)
{
	if (runs->n == runs->room)
	{
		runs->room = Max(64, runs->room * 2);
		runs->v = runs->v == NULL ? palloc(sizeof(EmkRun *) * runs->room) :
			repalloc(runs->v, sizeof(EmkRun *) * runs->room);
	}
	runs->v[runs->n++] = run;
}

static TimestampTz
time_at(uint64 row, int col)
{
	bool		isnull;

	return DatumGetTimestampTz(emk_spi_datum(row, col, &isnull));
}

/* The record as stored; NULL where it says no more than the run itself */
static Datum
pack_starts(const EmkRun *run, bool *isnull)
{
	bytea	   *packed;
	char	   *at;

	*isnull = run->nstarts <= 1;
	if (*isnull)
		return (Datum) 0;
	packed = palloc(VARHDRSZ + START_BYTES * run->nstarts);
	SET_VARSIZE(packed, VARHDRSZ + START_BYTES * run->nstarts);
	at = VARDATA(packed);
	for (int i = 0; i < run->nstarts; i++, at += START_BYTES)
	{
		uint64		v[2] = {pg_hton64((uint64) run->starts[i].at), pg_hton64((uint64) run->starts[i].event_id)};
		uint32		version = pg_hton32((uint32) run->starts[i].version);

		memcpy(at, v, sizeof(v));
		memcpy(at + sizeof(v), &version, sizeof(version));
	}
	return PointerGetDatum(packed);
}

/* Of a run from before there were records only the newest start is known, by its time. */
static void
make_record(EmkRun *run)
{
	run->starts = palloc(sizeof(EmkStart) * 2);
	run->starts_room = 2;
	run->starts[run->nstarts++] = (EmkStart) {run->started_at, run->event_at == run->started_at ? run->event_id : 0, run->rule_version};
	if (run->last_at > run->started_at)
		run->starts[run->nstarts++] = (EmkStart) {run->last_at, run->event_at == run->last_at ? run->event_id : 0, run->rule_version};
}

/* Somebody else wrote the column: who went on with it would tell people things that nobody meant. */
static void
bad_record(const EmkRun *run, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the record of starts of run " INT64_FORMAT " is damaged", run->run_id),
			 errdetail_internal("%s", detail),
			 errhint("Set column \"starts\" of its row in eventmkt_data.pending_trigger to NULL: "
					 "the run then has its own start and its newest.")));
}

/* A library from before there were records changes a row and leaves its record: then it is not what the row says. */
static bool
is_stale(const EmkRun *run, const EmkRule *rule)
{
	TimestampTz first = run->starts[0].at;
	TimestampTz newest = run->starts[run->nstarts - 1].at;

	return run->last_at != newest || run->started_at != (rule->on_repeat == EMK_REPEAT_DEBOUNCE ? newest : first);
}

static void
read_starts(EmkRun *run, Datum d)
{
	bytea	   *packed = DatumGetByteaPP(d);
	int			size = (int) VARSIZE_ANY_EXHDR(packed);
	const char *at = VARDATA_ANY(packed);

	if (size == 0 || size % START_BYTES != 0 || size / START_BYTES > EMK_MAX_RUN_STARTS)
		bad_record(run, psprintf("It has %d bytes.", size));
	run->nstarts = run->starts_room = size / START_BYTES;
	run->starts = palloc(sizeof(EmkStart) * run->nstarts);
	for (int i = 0; i < run->nstarts; i++, at += START_BYTES)
	{
		uint64		v[2];
		uint32		version;

		memcpy(v, at, sizeof(v));
		memcpy(&version, at + sizeof(v), sizeof(version));
		run->starts[i] = (EmkStart) {(TimestampTz) pg_ntoh64(v[0]), (int64) pg_ntoh64(v[1]), (int32) pg_ntoh32(version)};
		if (!IS_VALID_TIMESTAMP(run->starts[i].at) || (i > 0 && run->starts[i].at < run->starts[i - 1].at))
			bad_record(run, psprintf("Start %d is out of order.", i + 1));
		if (run->starts[i].version < 1)
			bad_record(run, psprintf("Start %d has version %d of its rule.", i + 1, run->starts[i].version));
	}
}

static void
unpack_starts(EmkRun *run, uint64 row)
{
	const EmkRule *rule = emk_rule_get(run->rule_id, run->rule_version);
	bool		debounce;
	bool		isnull;
	Datum		d = emk_spi_datum(row, RUN_NCOLS, &isnull);

	if (rule == NULL || !emk_trigger_has_series(rule))
		return;
	debounce = rule->on_repeat == EMK_REPEAT_DEBOUNCE;
	if (!isnull)
		read_starts(run, d);
	if (isnull || is_stale(run, rule))
	{
		run->nstarts = 0;
		make_record(run);
	}
	for (int i = 1; i < run->nstarts; i++)
		run->starts[i].joined = debounce;
}

/* Reads EMK_RUN_COLUMNS from row `row` of the current result. */
void
emk_trigger_read_run(uint64 row, EmkRun *run)
{
	bool		isnull;

	memset(run, 0, sizeof(*run));
	run->run_id = emk_spi_int8(row, 1, 0);
	run->rule_id = emk_spi_int4(row, 2, 0);
	run->rule_version = emk_spi_int4(row, 3, 0);
	run->profile_id = emk_spi_text(row, 4);
	run->key = emk_spi_text(row, 5);
	run->slot = emk_spi_int8(row, 6, 0);
	run->held = strcmp(emk_spi_text(row, 7), "held") == 0;
	run->started_at = time_at(row, 8);
	run->event_id = emk_spi_int8(row, 9, 0);
	run->event_name = emk_spi_text(row, 10);
	run->event_at = time_at(row, 11);
	run->message_id = emk_spi_text(row, 12);
	run->properties = DatumGetJsonbPCopy(emk_spi_datum(row, 13, &isnull));
	run->last_at = time_at(row, 14);
	run->due_at = time_at(row, 15);
	run->wake_at = time_at(row, 16);
	run->received_at = time_at(row, 17);
	run->created_at = time_at(row, 18);
	run->depth = DatumGetInt16(emk_spi_datum(row, 19, &isnull));
	unpack_starts(run, row);
}


static Datum
tid_array(EmkRun **runs, int n)
{
	Datum	   *tids = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		tids[i] = PointerGetDatum(&runs[i]->tid);
	return emk_spi_array(tids, NULL, n, TIDOID);
}

/* Deletes the rows of stored runs. */
void
emk_trigger_delete(EmkRun **runs, int n)
{
	Datum		arg;

	if (n == 0)
		return;
	arg = tid_array(runs, n);
	emk_spi_run(&delete_plan, &arg, NULL, false, 0);
}

static TimestampTz lowest_put = DT_NOEND;

TimestampTz
emk_trigger_lowest_put(void)
{
	TimestampTz t = lowest_put;

	lowest_put = DT_NOEND;
	return t;
}

/* The columns of n > 0 runs as arrays, in the order of EMK_RUN_COLUMNS */
static void
run_arrays(EmkRun **runs, int n, Datum *args)
{
	static const Oid elem[RUN_NCOLS] = {INT8OID, INT4OID, INT4OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID,
		INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, INT2OID, BYTEAOID};
	Datum	   *v[RUN_NCOLS];
	bool	   *no_message = palloc0(sizeof(bool) * n);
	bool	   *no_starts = palloc0(sizeof(bool) * n);

	for (int c = 0; c < RUN_NCOLS; c++)
		v[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		const EmkRun *r = runs[i];

		v[0][i] = Int64GetDatum(r->run_id);
		v[1][i] = Int32GetDatum(r->rule_id);
		v[2][i] = Int32GetDatum(r->rule_version);
		v[3][i] = CStringGetTextDatum(r->profile_id);
		v[4][i] = CStringGetTextDatum(r->key);
		v[5][i] = Int64GetDatum(r->slot);
		v[6][i] = CStringGetTextDatum(r->held ? "held" : "waiting");
		v[7][i] = TimestampTzGetDatum(r->started_at);
		v[8][i] = Int64GetDatum(r->event_id);
		v[9][i] = CStringGetTextDatum(r->event_name);
		v[10][i] = TimestampTzGetDatum(r->event_at);
		no_message[i] = r->message_id == NULL;
		v[11][i] = r->message_id ? CStringGetTextDatum(r->message_id) : (Datum) 0;
		v[12][i] = JsonbPGetDatum(r->properties);
		v[13][i] = TimestampTzGetDatum(r->last_at);
		v[14][i] = TimestampTzGetDatum(r->due_at);
		v[15][i] = TimestampTzGetDatum(r->wake_at);
		v[16][i] = TimestampTzGetDatum(r->received_at);
		v[17][i] = TimestampTzGetDatum(r->created_at);
		v[18][i] = Int16GetDatum(r->depth);
		v[19][i] = pack_starts(r, &no_starts[i]);
		lowest_put = Min(lowest_put, r->wake_at);
	}
	for (int c = 0; c < RUN_NCOLS; c++)
		args[c] = emk_spi_array(v[c], c == 11 ? no_message : c == 19 ? no_starts : NULL, n, elem[c]);
}

/* Changes the rows of stored runs. */
static void
change(EmkRun **runs, int n)
{
	Datum		args[RUN_NCOLS + 1];

	if (n == 0)
		return;
	run_arrays(runs, n, args);
	args[RUN_NCOLS] = tid_array(runs, n);
	emk_spi_run(&update_plan, args, NULL, false, 0);
}

/* Inserts runs as rows. */
void
emk_trigger_put(EmkRun **runs, int n)
{
	Datum		args[RUN_NCOLS + 1];

	if (n == 0)
		return;
	run_arrays(runs, n, args);
	args[RUN_NCOLS] = Int16GetDatum(emk_setting_node());
	if (emk_spi_run(&insert_plan, args, NULL, false, 0) < n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another pass began the same run meanwhile"),
				 errhint("Run it again.")));
}

static uint32
run_hash(const char *profile_id, int32 rule_id)
{
	return hash_combine(hash_bytes((const unsigned char *) profile_id, strlen(profile_id)), hash_uint32(rule_id));
}

void
emk_trigger_add(EmkTake *t, EmkRun *run)
{
	EmkRun	  **head;

	run->hash = run_hash(run->profile_id, run->rule_id);
	head = &t->buckets[run->hash & (t->nbuckets - 1)];
	run->next = *head;
	*head = run;
	emk_trigger_push(&t->runs, run);
}

static EmkRun *
walk(EmkTake *t, const char *profile_id, int32 rule_id, EmkRun *last)
{
	uint32		h = last ? last->hash : run_hash(profile_id, rule_id);
	EmkRun	   *r = last ? last->next : t->buckets[h & (t->nbuckets - 1)];

	while (r != NULL && (r->hash != h || r->rule_id != rule_id || strcmp(r->profile_id, profile_id) != 0))
		r = r->next;
	return r;
}

EmkRun *
emk_trigger_walk(EmkTake *t, const char *profile_id, int32 rule_id, EmkRun *last)
{
	do
		last = walk(t, profile_id, rule_id, last);
	while (last != NULL && last->gone);
	return last;
}

EmkRun *
emk_trigger_walk_cancelled(EmkTake *t, const char *profile_id, int32 rule_id, EmkRun *last)
{
	do
		last = walk(t, profile_id, rule_id, last);
	while (last != NULL && !last->cancelled);
	return last;
}

/* Did this event begin a run in this pass, or has one that is live taken it in? A run that the pass ended already counts too. */
bool
emk_trigger_has_event(EmkTake *t, const char *profile_id, int32 rule_id, int64 event_id)
{
	uint32		h = run_hash(profile_id, rule_id);

	for (EmkRun *r = t->buckets[h & (t->nbuckets - 1)]; r != NULL; r = r->next)
		if (r->hash == h && r->rule_id == rule_id && strcmp(r->profile_id, profile_id) == 0)
		{
			if (r->event_id == event_id)
				return true;
			for (int i = 0; i < r->nstarts; i++)
				if (r->starts[i].event_id == event_id)
					return true;
		}
	return false;
}

static int
compare_int32(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

/* The distinct rules of items[0..n), which are of one profile; returns how many, palloc'd in *out. */
static int
distinct_rules(const EmkItem *items, int n, int32 **out)
{
	int			total = 0;
	int			k = 0;

	for (int i = 0; i < n; i++)
		total += items[i].nrules;
	*out = palloc(sizeof(int32) * Max(total, 1));
	total = 0;
	for (int i = 0; i < n; i++)
		for (int r = 0; r < items[i].nrules; r++)
			(*out)[total++] = items[i].rules[r];
	qsort(*out, total, sizeof(int32), compare_int32);
	for (int i = 0; i < total; i++)
		if (i == 0 || (*out)[i] != (*out)[k - 1])
			(*out)[k++] = (*out)[i];
	return k;
}

/* Loads and locks the live runs of every (profile, rule) of the batch, in one order for all workers. */
void
emk_trigger_load(EmkTake *t, const EmkItem *items, int n)
{
	int			room = 0;
	int			k = 0;
	Datum	   *profile,
			   *rule;
	Datum		args[2];

	for (int i = 0; i < n; i++)
		room += items[i].nrules;
	profile = palloc(sizeof(Datum) * Max(room, 1));
	rule = palloc(sizeof(Datum) * Max(room, 1));
	for (int first = 0, next; first < n; first = next)
	{
		int32	   *ids;
		int			nids;

		for (next = first + 1; next < n && strcmp(items[next].profile_id, items[first].profile_id) == 0; next++)
			;
		nids = distinct_rules(items + first, next - first, &ids);
		for (int i = 0; i < nids; i++)
		{
			profile[k] = CStringGetTextDatum(items[first].profile_id);
			rule[k++] = Int32GetDatum(ids[i]);
		}
	}
	if (k == 0)
		return;
	args[0] = emk_spi_array(profile, NULL, k, TEXTOID);
	args[1] = emk_spi_array(rule, NULL, k, INT4OID);
	emk_spi_run(&load_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		EmkRun	   *run = palloc(sizeof(EmkRun));
		bool		isnull;

		emk_trigger_read_run(row, run);
		run->tid = *(ItemPointer) DatumGetPointer(emk_spi_datum(row, RUN_NCOLS + 1, &isnull));
		run->stored = true;
		emk_trigger_add(t, run);
	}
}

/* Writes what changed; new runs that are due already go to `due` and never become rows. */
void
emk_trigger_save(EmkTake *t, EmkRuns *due)
{
	EmkRuns		old = {0};
	EmkRuns		changed = {0};
	EmkRuns		open = {0};		/* at slot 0, which another row may leave in this pass, so they come last */
	EmkRuns		put = {0};

	for (int i = 0; i < t->runs.n; i++)
	{
		EmkRun	   *r = t->runs.v[i];

		if (r->stored && r->gone)
			emk_trigger_push(&old, r);
		else if (r->stored && r->dirty)
			emk_trigger_push(r->slot == 0 ? &open : &changed, r);
		if (r->gone || r->stored)
			continue;
		if (r->wake_at <= t->now)
			emk_trigger_push(due, r);
		else
			emk_trigger_push(&put, r);
	}
	emk_trigger_delete(old.v, old.n);
	change(changed.v, changed.n);
	change(open.v, open.n);
	emk_trigger_put(put.v, put.n);
}

int
emk_trigger_take_due(int max, TimestampTz low, TimestampTz now, EmkRuns *due)
{
	Datum		args[4] = {TimestampTzGetDatum(low), TimestampTzGetDatum(now), Int64GetDatum(max),
	Int16GetDatum(emk_setting_node())};
	int			n = (int) emk_spi_run(&take_due_plan, args, NULL, false, 0);
	EmkRun	   *runs = palloc(sizeof(EmkRun) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		emk_trigger_read_run(i, &runs[i]);
		emk_trigger_push(due, &runs[i]);
	}
	return n;
}

TimestampTz
emk_trigger_next_wake(TimestampTz low)
{
	Datum		args[2] = {TimestampTzGetDatum(low), Int16GetDatum(emk_setting_node())};

	return emk_spi_run(&next_wake_plan, args, NULL, false, 1) == 0 ? DT_NOEND : time_at(0, 1);
}
