/*
 * track.c: HOT. Spine 1 for one message.
 *
 * Runs once per event in the app's transaction. It may not: update a row, take a key that other callers share, wait for a
 * worker or an endpoint, evaluate a cold condition, or fail because of a rule. Guarded by `make bench` (track against a bare
 * INSERT).
 *
 *   validate → erased? → resolve alias → [message key] → append → match in memory → [one work row] → wake at commit
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "profile/profile.h"
#include "rule/rule.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/builtins.h"
#include "utils/guc.h"

bool		emk_track_fire = true;

static EmkPlan claim_key_plan = {
	"INSERT INTO eventmkt_data.message_key (user_id, message_id, event_id, digest, seen_at) "
	"VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", 5, {TEXTOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan read_key_plan = {
	"SELECT event_id, digest FROM eventmkt_data.message_key "
	"WHERE user_id OPERATOR(pg_catalog.=) $1 AND message_id OPERATOR(pg_catalog.=) $2", 2, {TEXTOID, TEXTOID}
};

void
emk_track_init(void)
{
	DefineCustomBoolVariable("eventmkt.fire",
							 "Off: events are recorded as history: they start and refresh nothing, but are counted and "
							 "cancel what falls due later.",
							 NULL, &emk_track_fire, true, PGC_USERSET, 0, NULL, NULL, NULL);
	emk_track_init_inbox();
}

/*
 * Takes the message id for this event. Waits only for a caller with the same user and message id. Returns false for a repeat
 * of the same content, with the first event's id in m->event_id; other content under the same id sets *conflict_of. Ids are
 * taken to be new; after a repeat the statement, which asks before it writes, comes first until one was new again.
 */
static bool
claim_key(EmkMessage *m, int64 digest, TimestampTz now, int64 *conflict_of)
{
	static bool repeats = false;
	EmkMessageKey key = {m->user_id ? m->user_id : m->anonymous_id, m->message_id, m->event_id, digest, now};
	Datum		v[5];

	if (!repeats && emk_event_write_key(&key))
		return true;
	v[0] = CStringGetTextDatum(key.user_id);
	v[1] = CStringGetTextDatum(key.message_id);
	v[2] = Int64GetDatum(key.event_id);
	v[3] = Int64GetDatum(digest);
	v[4] = TimestampTzGetDatum(now);
	SPI_connect();
	repeats = emk_spi_run(&claim_key_plan, v, NULL, false, 0) == 0;
	if (repeats && emk_spi_run(&read_key_plan, v, NULL, false, 1) > 0)
	{
		int64		first = emk_spi_int8(0, 1, 0);

		m->repeat = emk_spi_int8(0, 2, 0) == digest;
		if (m->repeat)
			m->event_id = first;
		else
			*conflict_of = first;
	}
	SPI_finish();
	return !m->repeat;
}

static void
leave_work(const EmkEvent *ev)
{
	EmkMatchInput in = {ev->name, ev->properties, ev->profile_id, ev->depth, ev->occurred_at, ev->received_at, !emk_track_fire,
	ev->event_id};
	const int32 *rules;
	int			n = emk_rule_match(&in, &rules);

	if (n > 0)
	{
		EmkWork		work = {'e', ev->event_id, ev->profile_id, ev->occurred_at, rules, n, ev->depth, !emk_track_fire};

		emk_event_enqueue(&work, 1);
	}
}

int64
emk_track_one(EmkMessage *m)
{
	TimestampTz now = emk_clock_now();
	int64		digest = m->message_id ? emk_track_digest(m) : 0;
	EmkEvent	ev;
	EmkOwner	owner;

	emk_track_position = -1;	/* a batch that failed leaves it set */
	emk_track_validate(m, now);
	emk_owner_enter(&owner);
	if (m->depth == 0)
		emk_track_refuse_erased(m->user_id, m->anonymous_id);
	m->event_id = emk_event_next_id();
	m->repeat = false;
	ev.conflict_of = 0;
	if (m->message_id == NULL || claim_key(m, digest, now, &ev.conflict_of))
	{
		ev.event_id = m->event_id;
		/* a copy: a trigger of somebody's own on the event may look up people too */
		ev.profile_id = pstrdup(emk_profile_resolve(m->user_id ? m->user_id : m->anonymous_id));
		ev.name = m->event;
		ev.properties = m->properties;
		ev.occurred_at = m->occurred_at;
		ev.received_at = now;
		ev.message_id = m->message_id;
		ev.anonymous_id = m->anonymous_id;
		ev.depth = m->depth;
		emk_event_append(&ev);
		EMK_PAUSE_POINT("event_appended");
		if (ev.conflict_of == 0)
			leave_work(&ev);
	}
	emk_owner_leave(&owner);
	return m->event_id;
}

PG_FUNCTION_INFO_V1(emk_track_track);
/* eventmkt.track(user_id, event, properties, occurred_at, message_id, anonymous_id): the event id */
Datum
emk_track_track(PG_FUNCTION_ARGS)
{
	EmkMessage	m = {0};

	m.user_id = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	m.event = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	m.properties = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	emk_track_position = -1;	/* a batch that failed leaves it set */
	m.occurred_at = PG_ARGISNULL(3) ? DT_NOBEGIN : emk_track_given_time(PG_GETARG_TIMESTAMPTZ(3));
	m.message_id = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	m.anonymous_id = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	m.depth = 0;
	PG_RETURN_INT64(emk_track_one(&m));
}
