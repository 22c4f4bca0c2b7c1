/*
 * identify.c: identify() and alias(), in the caller's transaction.
 *
 * Words: a merge makes the anonymous id (or, by alias(), any other id) an alias of the user; a claim is identify() asking
 * for one. Rules
 * 1. An anonymous id belongs to the first user who claims it. A later claim by another user merges nothing, because the
 *    device is shared by two people: a notice, and a row in merge_log that says so. Likewise an id that is itself a user
 *    (identify() named it). alias() is the explicit way and merges both.
 * 2. Ids on the list of blocked ids never merge.
 * 3. A merge leaves a work row 'm': the worker moves the pending runs and asks their cancelling events again.
 * 4. Each changed trait makes an engine-made event 'trait changed' with {"trait", "old", "new"}. A write that changes
 *    nothing writes nothing and makes no event.
 * 5. Two calls for one profile run one after the other: the second waits until the first one's transaction ends.
 */
#include "postgres.h"

#include "event/event.h"
#include "fmgr.h"
#include "profile/profile.h"
#include "track/identity.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* Merges two locked canonical profiles and leaves the work row. */
static void
merge(const char *from, const char *into)
{
	int64		merge_id = emk_profile_merge(from, into);
	EmkWork		work = {.kind = 'm', .event_id = merge_id, .profile_id = from, .occurred_at = emk_clock_now()};

	SPI_connect();
	emk_event_enqueue(&work, 1);
	SPI_finish();
}

static bool
may_merge(const char *a, const char *b)
{
	if (!emk_profile_is_blocked(a) && !emk_profile_is_blocked(b))
		return true;
	ereport(WARNING,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("an id that stands for nobody is not merged"),
			 errdetail("Ids such as an empty one, null, zeros, anonymous or guest are shared by many people.")));
	return false;
}

/* Locks the user, merges the anonymous id into it where rule 1 lets it; returns the canonical id. */
static const char *
claim(const char *user_id, const char *anonymous_id)
{
	const char *ids[2] = {user_id, anonymous_id};
	const char *canonical[2];

	if (anonymous_id == NULL || strcmp(user_id, anonymous_id) == 0 || !may_merge(anonymous_id, user_id))
	{
		emk_profile_lock(ids, canonical, 1);
		return canonical[0];
	}
	emk_profile_lock(ids, canonical, 2);
	if (strcmp(canonical[0], canonical[1]) == 0)
		return canonical[0];
	if (!emk_profile_is_identified(canonical[1]))
		merge(canonical[1], canonical[0]);
	else
		emk_profile_refuse_merge(anonymous_id, canonical[0],
								 strcmp(anonymous_id, canonical[1]) == 0 ? "the anonymous id is a user of its own"
								 : "the anonymous id belongs to another user");
	return canonical[0];
}

/* Under the lock of the profile: an erasure that held it has committed by now. */
static void
refuse_erased(const char *user_id, const char *anonymous_id)
{
	AcceptInvalidationMessages();
	emk_track_refuse_erased(user_id, anonymous_id);
}

static void
append_event(EmkMessages *events, const char *canonical, const EmkTraitChange *change)
{
	EmkMessage *m;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "trait", change->trait);
	appendStringInfoString(&buf, ", ");
	emk_json_append_jsonb(&buf, "old", change->old_value);
	appendStringInfoString(&buf, ", ");
	emk_json_append_jsonb(&buf, "new", change->new_value);
	appendStringInfoChar(&buf, '}');
	if (buf.len > EMK_MAX_PROPERTIES_BYTES)
	{
		/* both values together can be twice what an event may carry: trait_change has them */
		resetStringInfo(&buf);
		appendStringInfoChar(&buf, '{');
		emk_json_append_string(&buf, "trait", change->trait);
		appendStringInfoString(&buf, ", \"too_large\": true}");
	}
	if (events->n == events->size)
	{
		events->size = Max(16, events->size * 2);
		events->list = events->list ? repalloc_huge(events->list, sizeof(EmkMessage) * events->size)
			: palloc(sizeof(EmkMessage) * events->size);
	}
	m = &events->list[events->n++];
	memset(m, 0, sizeof(*m));
	m->user_id = canonical;
	m->event = "trait changed";
	m->properties = emk_json_parse(buf.data);
	m->occurred_at = DT_NOBEGIN;
	m->depth = 1;
	pfree(buf.data);
}

const char *
emk_track_identify(const char *user_id, const char *anonymous_id, Jsonb *traits, EmkMessages *events)
{
	EmkTraitChange *changes;
	const char *canonical;
	int			n;

	if (user_id == NULL && anonymous_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("user_id and anonymous_id are both null"),
				 errhint("Say whose traits they are.")));
	if (user_id != NULL)
		emk_profile_check_id(user_id, "user_id");
	if (anonymous_id != NULL && (user_id == NULL || anonymous_id[0] != '\0'))
		emk_profile_check_id(anonymous_id, "anonymous_id");
	canonical = user_id ? claim(user_id, anonymous_id) : claim(anonymous_id, NULL);
	refuse_erased(user_id, anonymous_id);
	n = emk_profile_set_traits(canonical, user_id != NULL, traits, &changes);
	for (int i = 0; i < n; i++)
		append_event(events, canonical, &changes[i]);
	return canonical;
}

const char *
emk_track_alias(const char *previous_id, const char *user_id)
{
	const char *ids[2] = {user_id, previous_id};
	const char *canonical[2];
	EmkTraitChange *none;
	bool		two;

	emk_profile_check_id(user_id, "user_id");
	if (previous_id[0] != '\0')
		emk_profile_check_id(previous_id, "previous_id");
	two = may_merge(previous_id, user_id);
	emk_profile_lock(ids, canonical, two ? 2 : 1);
	refuse_erased(user_id, previous_id);
	if (two && strcmp(canonical[0], canonical[1]) != 0)
		merge(canonical[1], canonical[0]);
	emk_profile_set_traits(canonical[0], true, emk_json_parse("{}"), &none);
	return canonical[0];
}

void
emk_track_flush(EmkMessages *events)
{
	if (events->n > 0)
		emk_track_many(events->list, events->n);
	events->n = 0;
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

PG_FUNCTION_INFO_V1(emk_track_identify_sql);
/* eventmkt.identify(user_id, traits, anonymous_id): canonical profile id */
Datum
emk_track_identify_sql(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0);
	Jsonb	   *traits = PG_ARGISNULL(1) ? emk_json_parse("{}") : PG_GETARG_JSONB_P(1);
	char	   *anonymous_id = text_argument(fcinfo, 2);
	EmkMessages events = {0};
	const char *canonical;
	EmkOwner	owner;

	emk_track_position = -1;	/* a batch that failed leaves it set */
	emk_owner_enter(&owner);
	canonical = emk_track_identify(user_id, anonymous_id, traits, &events);
	emk_track_flush(&events);
	emk_owner_leave(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(canonical));
}

PG_FUNCTION_INFO_V1(emk_track_alias_sql);
/* eventmkt.alias(previous_id, user_id): canonical profile id of both */
Datum
emk_track_alias_sql(PG_FUNCTION_ARGS)
{
	char	   *previous_id = text_argument(fcinfo, 0);
	char	   *user_id = text_argument(fcinfo, 1);
	const char *canonical;
	EmkOwner	owner;

	emk_track_position = -1;
	if (previous_id == NULL || user_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", previous_id == NULL ? "previous_id" : "user_id")));
	emk_owner_enter(&owner);
	canonical = emk_track_alias(previous_id, user_id);
	emk_owner_leave(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(canonical));
}
