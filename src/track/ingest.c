/*
 * ingest.c: ingest(), the messages of Segment's spec as its client libraries send them: track, page, screen, identify, alias,
 * group, batch. No SPI for reading them; who is who is written by identify.c, events by batch.c.
 *
 * Rules
 * 1. All or nothing: every message is read and checked before anything is written. Of a batch, first who is who is written,
 *    in its order, then the events at once; inside one transaction nobody can tell the order, and events belong to whom
 *    they belong to anyway.
 * 2. A page is the event 'Page Viewed', a screen 'Screen Viewed'; their name and category join the properties. A group sets
 *    the traits group_id and group (the group's own traits): the last group counts. userId, groupId and so on may be
 *    numbers; an empty one is none. context (addresses, browsers) and integrations are not stored.
 * 3. Time: originalTimestamp (else timestamp) is the sender's clock. With sentAt, of the message or of its batch, the
 *    sender's skew is taken out: occurred = now - (sentAt - originalTimestamp), never later than now. A message that bears
 *    receivedAt has been through a server that did that: its timestamp stands. Zones are ISO 8601's, UTC where none is.
 */
#include "postgres.h"

#include "fmgr.h"
#include "profile/profile.h"
#include "track/identity.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#define MAX_EPOCH_MS	INT64CONST(253402300800000)	/* the year 10000 */

typedef enum Kind
{
	KIND_EVENT,					/* track, page, screen */
	KIND_IDENTIFY,				/* identify, group */
	KIND_ALIAS
} Kind;

typedef struct Person			/* an identify, group or alias */
{
	Kind		kind;
	int			position;
	const char *user_id;
	const char *other_id;		/* anonymousId; previousId of an alias */
	Jsonb	   *traits;
} Person;

typedef struct Input			/* what one call carries, as read */
{
	TimestampTz now;
	TimestampTz sent_at;		/* of the batch; DT_NOBEGIN: none */
	EmkMessage *events;
	int			nevents;
	Person	   *people;
	int			npeople;
} Input;

pg_noreturn static void refuse_as(int code, const char *fmt,...) pg_attribute_printf(2, 3);
#define refuse(...) refuse_as(ERRCODE_INVALID_PARAMETER_VALUE, __VA_ARGS__)

/* ERROR about the message at hand. */
static void
refuse_as(int code, const char *fmt,...)
{
	char		text[256];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ereport(ERROR,
			(errcode(code), errmsg("%s", text),
			 emk_track_position < 0 ? 0
			 : errdetail("It is message %d of the batch, counted from 0.", emk_track_position),
			 errhint("Messages follow the Segment specification: type, userId or anonymousId, and what the type asks for.")));
	pg_unreachable();
}

static JsonbValue *
member(Jsonb *object, const char *name, JsonbValue *buf)
{
	JsonbValue *v = getKeyJsonValueFromContainer(&object->root, name, strlen(name), buf);

	return v == NULL || v->type == jbvNull ? NULL : v;
}

/* A string or number as text; NULL when missing, null or empty. */
static char *
text_member(Jsonb *object, const char *name)
{
	JsonbValue	buf;
	JsonbValue *v = member(object, name, &buf);

	if (v == NULL || (v->type == jbvString && v->val.string.len == 0))
		return NULL;
	if (v->type != jbvString && v->type != jbvNumeric)
		refuse("\"%s\" is neither a string nor a number", name);
	return emk_json_scalar(object, name, strlen(name));
}

/* An object, or NULL. */
static Jsonb *
object_member(Jsonb *object, const char *name)
{
	JsonbValue	buf;
	JsonbValue *v = member(object, name, &buf);

	if (v == NULL)
		return NULL;
	if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
		refuse("\"%s\" is not an object", name);
	return JsonbValueToJsonb(v);
}

/* Reads exactly `digits` digits. */
static bool
digits(const char **s, int count, int *out)
{
	*out = 0;
	for (int i = 0; i < count; i++, (*s)++)
	{
		if (**s < '0' || **s > '9')
			return false;
		*out = *out * 10 + (**s - '0');
	}
	return true;
}

/* hh:mm[:ss[.ffffff]], microseconds */
static bool
read_clock(const char **s, int64 *out)
{
	int			h, m, sec = 0;
	int64		unit = USECS_PER_SEC;

	if (!digits(s, 2, &h) || *(*s)++ != ':' || !digits(s, 2, &m) || h > 23 || m > 59)
		return false;
	if (**s == ':' && ((*s)++, !digits(s, 2, &sec) || sec > 60))
		return false;
	*out = (h * 3600 + m * 60 + sec) * USECS_PER_SEC;
	if (**s == '.' || **s == ',')
		for ((*s)++; **s >= '0' && **s <= '9'; (*s)++)
			*out += (unit /= 10) * (**s - '0');
	return true;
}

/* Z, +hh, +hhmm, +hh:mm or nothing (UTC), microseconds east */
static bool
read_zone(const char **s, int64 *out)
{
	int			h, m = 0;
	int			sign = **s == '-' ? -1 : 1;

	*out = 0;
	if (**s == '\0')
		return true;
	if (**s == 'Z' || **s == 'z')
		return (*s)++, true;
	if (*(*s)++ != '+' && sign > 0)
		return false;
	if (!digits(s, 2, &h) || h > 15)
		return false;
	if (**s == ':')
		(*s)++;
	if (**s != '\0' && (!digits(s, 2, &m) || m > 59))
		return false;
	*out = sign * (h * 60 + m) * 60 * USECS_PER_SEC;
	return true;
}

/* ISO 8601, extended form, whatever the session's settings are. */
static bool
read_time(const char *s, TimestampTz *out)
{
	int			y, m, d, y2, m2, d2;
	int64		clock = 0;
	int64		zone = 0;

	if (!digits(&s, 4, &y) || *s++ != '-' || !digits(&s, 2, &m) || *s++ != '-' || !digits(&s, 2, &d) || y == 0)
		return false;
	j2date(date2j(y, m, d), &y2, &m2, &d2);
	if (m < 1 || m > 12 || y != y2 || m != m2 || d != d2)
		return false;
	if (*s == 'T' || *s == 't' || *s == ' ')
	{
		s++;
		if (!read_clock(&s, &clock) || !read_zone(&s, &zone))
			return false;
	}
	*out = (int64) (date2j(y, m, d) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY + clock - zone;
	return *s == '\0';
}

/* A time; DT_NOBEGIN when missing. */
static TimestampTz
time_member(Jsonb *object, const char *name)
{
	JsonbValue	buf;
	JsonbValue *v = member(object, name, &buf);
	TimestampTz t = DT_NOBEGIN;

	if (v == NULL)
		return DT_NOBEGIN;
	if (v->type == jbvNumeric)
	{
		double		ms = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(v->val.numeric)));

		if (ms < 0 || ms >= MAX_EPOCH_MS)
			refuse("\"%s\" is no time", name);
		return ((int64) ms - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (USECS_PER_DAY / 1000)) * 1000;
	}
	if (v->type != jbvString || !read_time(pnstrdup(v->val.string.val, v->val.string.len), &t))
		refuse("\"%s\" is no ISO 8601 time", name);
	return t;
}

/* Rule 3 */
static void
set_time(const Input *in, Jsonb *msg, EmkMessage *m)
{
	TimestampTz stamp = time_member(msg, "timestamp");
	TimestampTz original = time_member(msg, "originalTimestamp");
	TimestampTz sent = time_member(msg, "sentAt");
	JsonbValue	buf;

	m->occurred_at = stamp;
	if (stamp != DT_NOBEGIN && member(msg, "receivedAt", &buf) != NULL)
		return;
	if (original != DT_NOBEGIN)
		m->occurred_at = original;
	if (sent == DT_NOBEGIN)
		sent = in->sent_at;
	if (m->occurred_at == DT_NOBEGIN || sent == DT_NOBEGIN)
		return;
	m->occurred_at = in->now - Max(sent - m->occurred_at, 0);
	m->time_derived = true;
}

/* The properties of a page or screen with its name and category. */
static Jsonb *
page_properties(Jsonb *msg, Jsonb *properties)
{
	static const char *const names[] = {"name", "category"};
	StringInfoData buf;
	int			n = 0;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(names); i++)
	{
		char	   *value = text_member(msg, names[i]);

		if (value == NULL)
			continue;
		appendStringInfoString(&buf, n++ > 0 ? ", " : "{");
		emk_json_append_string(&buf, names[i], value);
	}
	if (n == 0)
		return properties;
	appendStringInfoChar(&buf, '}');
	if (properties == NULL)
		return emk_json_parse(buf.data);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(properties),
											  JsonbPGetDatum(emk_json_parse(buf.data))));
}

static Jsonb *
group_traits(Jsonb *msg)
{
	char	   *group_id = text_member(msg, "groupId");
	Jsonb	   *traits = object_member(msg, "traits");
	StringInfoData buf;

	if (group_id == NULL)
		refuse("a group message has no groupId");
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "group_id", group_id);
	appendStringInfoString(&buf, ", ");
	emk_json_append_jsonb(&buf, "group", traits ? traits : emk_json_parse("{}"));
	appendStringInfoChar(&buf, '}');
	return emk_json_parse(buf.data);
}

/* A track, page or screen; `event` NULL: the message names it. */
static void
read_event(Input *in, Jsonb *msg, const char *event)
{
	EmkMessage *m = &in->events[in->nevents++];
	EmkMessage	probe;

	memset(m, 0, sizeof(*m));
	m->user_id = text_member(msg, "userId");
	m->anonymous_id = text_member(msg, "anonymousId");
	if (m->user_id == NULL && m->anonymous_id == NULL)
		refuse("the message has neither userId nor anonymousId");
	m->properties = object_member(msg, "properties");
	m->event = event ? event : text_member(msg, "event");
	if (m->event == NULL)
		refuse("a track message has no event");
	if (event != NULL)
		m->properties = page_properties(msg, m->properties);
	m->message_id = text_member(msg, "messageId");
	set_time(in, msg, m);
	probe = *m;					/* checked here, where its position is known; validating fills in what was not given */
	emk_track_validate(&probe, in->now);
}

static void
check_length(const char *name, const char *id)
{
	if (id != NULL && strlen(id) > EMK_MAX_ID_BYTES)
		refuse_as(ERRCODE_PROGRAM_LIMIT_EXCEEDED, "%s has %zu bytes; the limit is %d (EMK_MAX_ID_BYTES)", name, strlen(id),
				  EMK_MAX_ID_BYTES);
}

static void
read_person(Input *in, Jsonb *msg, const char *type)
{
	Person	   *p = &in->people[in->npeople++];
	bool		alias = strcmp(type, "alias") == 0;

	p->kind = alias ? KIND_ALIAS : KIND_IDENTIFY;
	p->position = emk_track_position;
	p->user_id = text_member(msg, "userId");
	p->other_id = text_member(msg, alias ? "previousId" : "anonymousId");
	if (alias && (p->user_id == NULL || p->other_id == NULL))
		refuse("an alias message needs previousId and userId");
	if (p->user_id == NULL && p->other_id == NULL)
		refuse("the message has neither userId nor anonymousId");
	check_length("userId", p->user_id);
	check_length(alias ? "previousId" : "anonymousId", p->other_id);
	p->traits = alias ? NULL : strcmp(type, "group") == 0 ? group_traits(msg) : object_member(msg, "traits");
	if (p->traits == NULL)
		p->traits = emk_json_parse("{}");
}

static void
read_message(Input *in, Jsonb *msg)
{
	char	   *type;

	if (!JB_ROOT_IS_OBJECT(msg))
		refuse("the message is not an object");
	type = text_member(msg, "type");
	if (type == NULL)
		refuse("the message has no type");
	if (strcmp(type, "track") == 0)
		read_event(in, msg, NULL);
	else if (strcmp(type, "page") == 0)
		read_event(in, msg, "Page Viewed");
	else if (strcmp(type, "screen") == 0)
		read_event(in, msg, "Screen Viewed");
	else if (strcmp(type, "identify") == 0 || strcmp(type, "group") == 0 || strcmp(type, "alias") == 0)
		read_person(in, msg, type);
	else
		refuse("\"%.60s\" is no type of message", type);
}

/* The messages of a batch: an array, or the member `batch` of an object. NULL: it is a single message. */
static Jsonb *
find_batch(Input *in, Jsonb *msg)
{
	JsonbValue	buf;
	JsonbValue *v;
	char	   *type;

	if (JB_ROOT_IS_ARRAY(msg) && !JB_ROOT_IS_SCALAR(msg))
		return msg;
	if (!JB_ROOT_IS_OBJECT(msg))
		return NULL;
	v = member(msg, "batch", &buf);
	if (v == NULL)
	{
		type = text_member(msg, "type");
		if (type != NULL && strcmp(type, "batch") == 0)
			refuse("a batch message has no batch");
		return NULL;
	}
	if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		refuse("\"batch\" is not an array");
	in->sent_at = time_member(msg, "sentAt");
	return JsonbValueToJsonb(v);
}

static void
say_position(void *arg)
{
	if (*(int *) arg >= 0)
		errcontext("message %d of the batch, counted from 0", *(int *) arg);
}

/* All ids that are about to be joined or described, locked at once: two batches never wait for each other in a circle. */
static void
lock_people(const Input *in)
{
	const char **ids = palloc(sizeof(char *) * in->npeople * 2);
	const char **canonical = palloc(sizeof(char *) * in->npeople * 2);
	int			n = 0;

	for (int i = 0; i < in->npeople; i++)
	{
		const Person *p = &in->people[i];

		if (p->user_id == NULL || p->other_id == NULL)
			ids[n++] = p->user_id ? p->user_id : p->other_id;
		else
		{
			ids[n++] = p->user_id;
			if (!emk_profile_is_blocked(p->user_id) && !emk_profile_is_blocked(p->other_id))
				ids[n++] = p->other_id;
		}
	}
	if (in->npeople > 1)
		emk_profile_lock(ids, canonical, n);
}

static void
store_people(const Input *in)
{
	ErrorContextCallback context;
	EmkMessages changes = {0};
	EmkOwner	owner;
	int			position = -1;

	context.callback = say_position;
	context.arg = &position;
	context.previous = error_context_stack;
	error_context_stack = &context;
	emk_owner_enter(&owner);
	lock_people(in);
	for (int i = 0; i < in->npeople; i++)
	{
		const Person *p = &in->people[i];

		position = p->position;
		if (p->kind == KIND_ALIAS)
			emk_track_alias(p->other_id, p->user_id);
		else
			emk_track_identify(p->user_id, p->other_id, p->traits, &changes);
	}
	position = -1;
	emk_track_flush(&changes);
	emk_owner_leave(&owner);
	error_context_stack = context.previous;
}

/* Reads everything into `in`; returns whether it is a batch. */
static bool
read_input(Input *in, Jsonb *msg)
{
	Jsonb	   *batch;
	int			n;

	emk_track_position = -1;
	batch = find_batch(in, msg);
	n = batch ? JB_ROOT_COUNT(batch) : 1;
	if (n > EMK_MAX_BATCH_MESSAGES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a batch has %d messages; the limit is %d (EMK_MAX_BATCH_MESSAGES)", n, EMK_MAX_BATCH_MESSAGES)));
	in->events = palloc(sizeof(EmkMessage) * Max(n, 1));
	in->people = palloc(sizeof(Person) * Max(n, 1));
	if (batch == NULL)
		read_message(in, msg);
	else
	{
		JsonbIterator *it = JsonbIteratorInit(&batch->root);
		JsonbValue	v;
		JsonbIteratorToken tok;

		while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
			if (tok == WJB_ELEM)
			{
				emk_track_position++;
				read_message(in, JsonbValueToJsonb(&v));
			}
		emk_track_position = -1;
	}
	return batch != NULL;
}

PG_FUNCTION_INFO_V1(emk_track_ingest);
/* eventmkt.ingest(message): event id of a single event, 0 for who is who; of a batch the number stored */
Datum
emk_track_ingest(PG_FUNCTION_ARGS)
{
	Input		in = {.now = emk_clock_now(), .sent_at = DT_NOBEGIN};
	int64		stored;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("message is NULL"),
				 errhint("Write {\"type\": \"track\", \"userId\": ..., \"event\": ..., \"properties\": {...}}.")));
	if (!read_input(&in, PG_GETARG_JSONB_P(0)))
	{
		if (in.npeople > 0)
			store_people(&in);
		PG_RETURN_INT64(in.npeople > 0 ? 0 : emk_track_one(in.events));
	}
	if (in.npeople > 0)
		store_people(&in);
	stored = in.npeople;
	if (in.nevents > 0)
		stored += emk_track_many(in.events, in.nevents);
	PG_RETURN_INT64(stored);
}
