/*
 * batch.c: spine 1 for many messages at once: track_many(), ingest(batch) and the inbox. The same steps as track.c, each as
 * one statement for the whole batch; the same promises.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "profile/profile.h"
#include "rule/rule.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* in the order of the key, so that two batches with the same ids wait for each other and never in a circle */
static EmkPlan claim_keys_plan = {
	"INSERT INTO eventmkt_data.message_key (user_id, message_id, event_id, digest, seen_at) "
	"SELECT u.user_id, u.message_id, u.event_id, u.digest, $5 "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) "
	"WITH ORDINALITY AS u (user_id, message_id, event_id, digest, ord) "
	"ORDER BY u.user_id COLLATE \"C\", u.message_id COLLATE \"C\", u.ord ON CONFLICT DO NOTHING",
	5, {TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan read_keys_plan = {
	"SELECT u.ord::pg_catalog.int4, k.event_id, k.digest "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
	"WITH ORDINALITY AS u (user_id, message_id, event_id, ord) CROSS JOIN LATERAL "
	"(SELECT m.event_id, m.digest FROM eventmkt_data.message_key m WHERE m.user_id OPERATOR(pg_catalog.=) u.user_id "
	"AND m.message_id OPERATOR(pg_catalog.=) u.message_id LIMIT 1) k "
	"WHERE k.event_id OPERATOR(pg_catalog.<>) u.event_id",
	3, {TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID}
};

/* Takes the message ids; marks repeats and fills conflict_of (one entry a message, 0 for none). */
static void
claim_keys(EmkMessage *m, int n, const int64 *digest, int64 *conflict_of, TimestampTz now)
{
	Datum	   *user = palloc(sizeof(Datum) * n);
	Datum	   *mid = palloc(sizeof(Datum) * n);
	Datum	   *eid = palloc(sizeof(Datum) * n);
	Datum	   *dig = palloc(sizeof(Datum) * n);
	int		   *index = palloc(sizeof(int) * n);
	Datum		args[5];
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		if (m[i].message_id == NULL)
			continue;
		user[k] = CStringGetTextDatum(m[i].user_id ? m[i].user_id : m[i].anonymous_id);
		mid[k] = CStringGetTextDatum(m[i].message_id);
		eid[k] = Int64GetDatum(m[i].event_id);
		dig[k] = Int64GetDatum(digest[i]);
		index[k++] = i;
	}
	if (k == 0)
		return;
	args[0] = emk_spi_array(user, NULL, k, TEXTOID);
	args[1] = emk_spi_array(mid, NULL, k, TEXTOID);
	args[2] = emk_spi_array(eid, NULL, k, INT8OID);
	args[3] = emk_spi_array(dig, NULL, k, INT8OID);
	args[4] = TimestampTzGetDatum(now);
	if (emk_spi_run(&claim_keys_plan, args, NULL, false, 0) == (uint64) k)
		return;
	emk_spi_run(&read_keys_plan, args, NULL, false, 0);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		int			i = index[emk_spi_int4(r, 1, 0) - 1];

		if (emk_spi_int8(r, 3, 0) == digest[i])
		{
			m[i].event_id = emk_spi_int8(r, 2, 0);
			m[i].repeat = true;
		}
		else
			conflict_of[i] = emk_spi_int8(r, 2, 0);
	}
}

static void
leave_work(const EmkEvent *evs, int n)
{
	EmkWork    *work = palloc(sizeof(EmkWork) * n);
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		const EmkEvent *e = &evs[i];
		EmkMatchInput in = {e->name, e->properties, e->profile_id, e->depth, e->occurred_at, e->received_at,
		!emk_track_fire, e->event_id};
		const int32 *rules;
		int			matched = e->conflict_of ? 0 : emk_rule_match(&in, &rules);

		if (matched > 0)
		{
			int32	   *copy = palloc(sizeof(int32) * matched);

			memcpy(copy, rules, sizeof(int32) * matched);
			work[k++] = (EmkWork) {'e', e->event_id, e->profile_id, e->occurred_at, copy, matched, e->depth,
				!emk_track_fire};
		}
	}
	emk_event_enqueue(work, k);
}

/* Builds the events of the messages that are no repeats; returns how many. */
static int
build_events(const EmkMessage *m, int n, const int64 *conflict_of, TimestampTz now, EmkEvent *evs)
{
	const char **ids = palloc(sizeof(char *) * n);
	const char **canonical = palloc(sizeof(char *) * n);
	int			k = 0;

	for (int i = 0; i < n; i++)
		ids[i] = m[i].user_id ? m[i].user_id : m[i].anonymous_id;
	emk_profile_resolve_many(ids, canonical, n);
	for (int i = 0; i < n; i++)
		if (!m[i].repeat)
			evs[k++] = (EmkEvent) {
				.event_id = m[i].event_id, .profile_id = canonical[i], .name = m[i].event,
				.properties = m[i].properties, .occurred_at = m[i].occurred_at, .received_at = now,
				.message_id = m[i].message_id, .anonymous_id = m[i].anonymous_id, .depth = m[i].depth,
				.conflict_of = conflict_of[i]
			};
	return k;
}

int
emk_track_many(EmkMessage *m, int n)
{
	TimestampTz now = emk_clock_now();
	int64	   *digest;
	int64	   *conflict_of;
	EmkEvent   *evs;
	EmkOwner	owner;

	if (n == 0)
		return 0;
	emk_owner_enter(&owner);
	SPI_connect();
	digest = palloc0(sizeof(int64) * n);
	conflict_of = palloc0(sizeof(int64) * n);
	evs = palloc(sizeof(EmkEvent) * n);
	for (int i = 0; i < n; i++)
	{
		if (m[i].message_id != NULL)
			digest[i] = emk_track_digest(&m[i]);
		emk_track_position = i;
		emk_track_validate(&m[i], now);
		if (m[i].depth == 0)
			emk_track_refuse_erased(m[i].user_id, m[i].anonymous_id);
		m[i].repeat = false;
		m[i].event_id = emk_event_next_id();
	}
	emk_track_position = -1;
	claim_keys(m, n, digest, conflict_of, now);
	n = build_events(m, n, conflict_of, now, evs);
	emk_event_append_many(evs, n);
	leave_work(evs, n);
	SPI_finish();
	emk_owner_leave(&owner);
	return n;
}

/* A text member of a message object: NULL when missing or null; ERROR for anything but a string or number. */
static char *
member_text(Jsonb *object, const char *name)
{
	JsonbValue	buf;
	JsonbValue *v = getKeyJsonValueFromContainer(&object->root, name, strlen(name), &buf);

	if (v == NULL || v->type == jbvNull)
		return NULL;
	if (v->type != jbvString && v->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is not a string", name),
				 errdetail("It is message %d of the batch, counted from 0.", emk_track_position),
				 errhint("Write it in quotes.")));
	return emk_json_scalar(object, name, strlen(name));
}

static void
check_members(Jsonb *object)
{
	static const char *const known[] = {"user_id", "anonymous_id", "event", "properties", "occurred_at", "message_id"};
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbValue	v;
	JsonbIteratorToken tok;

	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		bool		ok = tok != WJB_KEY;

		for (int i = 0; i < lengthof(known) && !ok; i++)
			ok = strlen(known[i]) == v.val.string.len && memcmp(known[i], v.val.string.val, v.val.string.len) == 0;
		if (!ok)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown member \"%.*s\" in a message", Min(v.val.string.len, 64), v.val.string.val),
					 errdetail("It is message %d of the batch, counted from 0.", emk_track_position),
					 errhint("Members are user_id, anonymous_id, event, properties, occurred_at and message_id; "
							 "Segment's messages go to eventmkt.ingest().")));
	}
}

static void
read_message(JsonbValue *v, EmkMessage *m)
{
	Jsonb	   *object;
	JsonbValue	buf;
	JsonbValue *props;
	char	   *at;

	if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a message is not a JSON object"),
				 errdetail("It is message %d of the batch, counted from 0.", emk_track_position),
				 errhint("Write [{\"user_id\": ..., \"event\": ..., \"properties\": {...}}, ...].")));
	object = JsonbValueToJsonb(v);
	check_members(object);
	memset(m, 0, sizeof(*m));
	m->user_id = member_text(object, "user_id");
	m->anonymous_id = member_text(object, "anonymous_id");
	m->event = member_text(object, "event");
	m->message_id = member_text(object, "message_id");
	props = getKeyJsonValueFromContainer(&object->root, "properties", strlen("properties"), &buf);
	m->properties = props == NULL || props->type == jbvNull ? NULL : JsonbValueToJsonb(props);
	at = member_text(object, "occurred_at");
	m->occurred_at = at == NULL ? DT_NOBEGIN :
		emk_track_given_time(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(at),
																	 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

PG_FUNCTION_INFO_V1(emk_track_track_many);
/* eventmkt.track_many(messages): number stored, repeats not counted; all or nothing */
Datum
emk_track_track_many(PG_FUNCTION_ARGS)
{
	Jsonb	   *messages = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	EmkMessage *m;
	int			n;

	if (messages == NULL || !JB_ROOT_IS_ARRAY(messages) || JB_ROOT_IS_SCALAR(messages))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("messages are not a JSON array"),
				 errhint("Write [{\"user_id\": ..., \"event\": ..., \"properties\": {...}}, ...].")));
	n = JB_ROOT_COUNT(messages);
	if (n > EMK_MAX_BATCH_MESSAGES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d messages in one call; the limit is %d (EMK_MAX_BATCH_MESSAGES)", n, EMK_MAX_BATCH_MESSAGES),
				 errhint("Cut them into several calls.")));
	m = palloc(sizeof(EmkMessage) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		emk_track_position = i;
		read_message(getIthJsonbValueFromContainer(&messages->root, i), &m[i]);
	}
	emk_track_position = -1;
	PG_RETURN_INT64(emk_track_many(m, n));
}
