/*
 * message.c: what a message must look like. Runs per event; pure but for the errors it raises. Every limit is in
 * base/limits.h and is named by its error.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "profile/profile.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/fmgrprotos.h"

#define SMALLEST_DEEP_JSON (EMK_MAX_JSON_DEPTH * 8)		/* bytes: nothing smaller can be nested too deep */

int			emk_track_position = -1;

static int
position_detail(void)
{
	return emk_track_position < 0 ? 0 : errdetail("It is message %d of the batch, counted from 0.", emk_track_position);
}

static void
check_id(const char *what, const char *id, int max)
{
	size_t		len;

	if (id == NULL)
		return;
	len = strlen(id);
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is empty", what), position_detail(),
				 max == EMK_MAX_EVENT_NAME_BYTES ? errhint("Give the event's name, for example 'Product Added'.") :
				 errhint("Give a non-empty id, or NULL for none.")));
	if (len > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has %zu bytes; the limit is %d (%s)", what, len, max,
						max == EMK_MAX_ID_BYTES ? "EMK_MAX_ID_BYTES" : "EMK_MAX_EVENT_NAME_BYTES"), position_detail(),
				 max == EMK_MAX_EVENT_NAME_BYTES ? errhint("What varies from event to event belongs into the properties.") :
				 errhint("Give a shorter id.")));
}

static void
check_properties(const EmkMessage *m)
{
	if (!JB_ROOT_IS_OBJECT(m->properties))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("properties are not a JSON object"), position_detail(),
				 errhint("Write properties as {\"name\": value, ...}.")));
	if (VARSIZE_ANY(m->properties) > EMK_MAX_PROPERTIES_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("properties have %zu bytes; the limit is %d (EMK_MAX_PROPERTIES_BYTES)", (size_t) VARSIZE_ANY(m->properties),
						EMK_MAX_PROPERTIES_BYTES), position_detail(),
				 errhint("Send what rules and messages need, and a reference to the rest.")));
	if (VARSIZE_ANY(m->properties) >= SMALLEST_DEEP_JSON && emk_json_depth(m->properties) > EMK_MAX_JSON_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("properties are nested deeper than %d levels (EMK_MAX_JSON_DEPTH)", EMK_MAX_JSON_DEPTH),
				 position_detail(), errhint("Send flatter properties.")));
}

static void
check_time(const EmkMessage *m, TimestampTz now)
{
	emk_track_given_time(m->occurred_at);
	if (m->occurred_at > now + EMK_MAX_FUTURE_SECONDS * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("occurred_at lies more than %d seconds in the future", EMK_MAX_FUTURE_SECONDS),
				 position_detail(),
				 errhint("Correct the sender's clock, or leave occurred_at out.")));
}

/* A time that the caller gave: -infinity would pass for "none given". */
TimestampTz
emk_track_given_time(TimestampTz t)
{
	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("occurred_at is not a finite time"),
				 position_detail(), errhint("Give the time of the event, or leave occurred_at out.")));
	return t;
}

void
emk_track_validate(EmkMessage *m, TimestampTz now)
{
	static Jsonb *empty = NULL;

	if (m->user_id == NULL && m->anonymous_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("user_id and anonymous_id are both NULL"),
				 position_detail(), errhint("Say whose event it is.")));
	if (m->event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("event is NULL"), position_detail(),
				 errhint("Give the event's name, for example 'Product Added'.")));
	check_id("user_id", m->user_id, EMK_MAX_ID_BYTES);
	check_id("anonymous_id", m->anonymous_id, EMK_MAX_ID_BYTES);
	check_id("event", m->event, EMK_MAX_EVENT_NAME_BYTES);
	check_id("message_id", m->message_id, EMK_MAX_ID_BYTES);
	if (strcmp(m->event, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("an event cannot be named *"), position_detail(),
				 errhint("In rules, * stands for any event.")));
	if (m->properties == NULL)
	{
		if (empty == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

			empty = emk_json_parse("{}");
			MemoryContextSwitchTo(old);
		}
		m->properties = empty;
	}
	else
		check_properties(m);
	if (m->occurred_at == DT_NOBEGIN)
		m->occurred_at = now;
	else
		check_time(m, now);
}

void
emk_track_refuse_erased(const char *user_id, const char *anonymous_id)
{
	if ((user_id != NULL && emk_profile_is_erased(user_id)) || (anonymous_id != NULL && emk_profile_is_erased(anonymous_id)))
		ereport(ERROR,
				(errcode(ERRCODE_EMK_ERASED),
				 errmsg("this person was erased"),
				 emk_track_position < 0 ? errdetail("Nothing is stored under an id of somebody who was erased.") :
				 errdetail("It is message %d of the batch, counted from 0.", emk_track_position),
				 errhint("Do not send this id again; if the person came back, an operator calls eventmkt.unerase().")));
}

/* Asked before validation, which fills in the time: an event without a name is refused there. */
int64
emk_track_digest(const EmkMessage *m)
{
	uint64		h;

	if (m->event == NULL)
		return 0;
	h = hash_bytes_extended((const unsigned char *) m->event, strlen(m->event), 0);
	if (m->occurred_at != DT_NOBEGIN && !m->time_derived)
		h = hash_bytes_extended((const unsigned char *) &m->occurred_at, sizeof(m->occurred_at), h);
	/* no properties and {} are the same: one way in fills the default, another leaves it out */
	if (m->properties != NULL && !(JB_ROOT_IS_OBJECT(m->properties) && JB_ROOT_COUNT(m->properties) == 0))
		h = hash_combine64(h, DatumGetUInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(m->properties),
																 Int64GetDatum(0))));
	return (int64) h;
}
