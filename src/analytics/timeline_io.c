/*
 * timeline_io.c: a timeline as text, as bytes on the wire, and as what it is made of.
 *
 * Text is JSON, an array of {"at", "event", "key", "value", "id"} in UTC, whatever the session's settings, so that a dump
 * restores anywhere; input takes the events in any order. "\x" and hexadecimal digits give the packed bytes instead. Whatever comes
 * from outside is taken apart and built anew, so a stored timeline is always well-formed.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/timeline.h"
#include "analytics/timeline_int.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* A numeric as millionths, further decimals rounded half away from zero. ERROR 22003 from a million million on and for NaN. */
bool
emk_analytics_try_value(Numeric value, int64 *result)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
	const char *p = text;
	bool		negative = *p == '-';
	int64		v = 0;
	int			decimals = -1;	/* -1: the point has not been seen */
	bool		up = false;

	for (p += negative; *p; p++)
	{
		if (*p == '.' && decimals < 0)
		{
			decimals = 0;
			continue;
		}
		if (*p < '0' || *p > '9' || (decimals < 0 && v >= INT64CONST(100000000000)))
			return false;
		if (decimals == EMK_VALUE_SCALE)
		{
			up = *p >= '5';
			break;
		}
		v = v * 10 + (*p - '0');
		decimals += decimals >= 0;
	}
	for (decimals = Max(decimals, 0); decimals < EMK_VALUE_SCALE; decimals++)
		v *= 10;
	v += up;
	pfree(text);
	*result = negative ? -v : v;
	return true;
}

int64
emk_analytics_value(Numeric value)
{
	int64		v;

	if (!emk_analytics_try_value(value, &v))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value is out of range for a timeline"),
				 errdetail("A timeline keeps values below 1000000000000 with %d decimals.", EMK_VALUE_SCALE)));
	return v;
}

Numeric
emk_timeline_numeric(int64 value)
{
	Numeric		n = int64_div_fast_to_numeric(value, EMK_VALUE_SCALE);

	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(n)));
}

/* ---- input ---- */

static void
fail_input(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type eventmkt.timeline"),
			 errdetail("%s", detail)));
}

static JsonbValue *
field(JsonbContainer *object, const char *name)
{
	JsonbValue *v = getKeyJsonValueFromContainer(object, name, strlen(name), NULL);

	return v && v->type != jbvNull ? v : NULL;
}

static void
add_json_event(EmkTimelineBuilder *b, JsonbContainer *object)
{
	JsonbValue *at = field(object, "at");
	JsonbValue *name = field(object, "event");
	JsonbValue *key = field(object, "key");
	JsonbValue *value = field(object, "value");
	JsonbValue *id = field(object, "id");
	int64		t;
	int64		v = 0;
	int64		i = 0;

	if (!at || at->type != jbvString || !name || name->type != jbvString)
		fail_input("Each event needs \"at\" and \"event\" as strings.");
	if ((key && key->type != jbvString) || (value && value->type != jbvNumeric) || (id && id->type != jbvNumeric))
		fail_input("\"key\" must be a string, \"value\" and \"id\" must be numbers.");
	t = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												CStringGetDatum(pnstrdup(at->val.string.val, at->val.string.len)),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (value)
		v = emk_analytics_value(value->val.numeric);
	if (id)
		i = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(id->val.numeric)));
	emk_analytics_add_event(b, t, name->val.string.val, name->val.string.len,
							key ? key->val.string.val : NULL, key ? key->val.string.len : 0,
							value ? &v : NULL, id ? &i : NULL);
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_in);
Datum
emk_analytics_timeline_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	EmkTimelineBuilder *b = emk_analytics_start_timeline();
	Jsonb	   *jb;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	if (text[0] == '\\' && text[1] == 'x')
	{
		bytea	   *bytes = DatumGetByteaPP(DirectFunctionCall1(byteain, CStringGetDatum(text)));

		emk_timeline_add_bytes(b, (uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
		PG_RETURN_POINTER(emk_analytics_finish_timeline(b));
	}
	jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	if (!JB_ROOT_IS_ARRAY(jb) || JB_ROOT_IS_SCALAR(jb))
		fail_input("A timeline is written as a JSON array of events.");
	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			fail_input("Each element must be an object.");
		add_json_event(b, v.val.binary.data);
	}
	PG_RETURN_POINTER(emk_analytics_finish_timeline(b));
}

/* ---- one event after the other ---- */

void
emk_timeline_start_reading(EmkTimelineReader *r, const struct varlena *value)
{
	emk_tl_open(&r->tl, value);
	r->next = 0;
	if (r->tl.n == 0)
		return;
	emk_tl_open_rest(&r->tl);
	r->names = emk_tl_names(&r->tl);
	r->keys = emk_tl_keys(&r->tl);
	r->times = r->tl.times;
	r->values = r->tl.values;
	r->ids = r->tl.ids;
	r->event = (EmkMoment) {.at = r->tl.first};
}

bool
emk_timeline_read(EmkTimelineReader *r)
{
	static const int64 units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	EmkTimeline *tl = &r->tl;
	EmkMoment   *e = &r->event;
	uint64		value;

	if (r->next >= tl->n)
		return false;
	if (r->next > 0)
		e->at = (int64) ((uint64) e->at + emk_tl_varint(&r->times, tl->end));
	e->name = emk_tl_code(tl, r->next);
	e->key = tl->key_codes ? emk_tl_key_code(tl, r->next) : 0;
	e->has = 0;
	if (r->values && (value = emk_tl_varint(&r->values, tl->end)) != 0)
	{
		e->has |= EMK_EVENT_VALUE;
		if (pg_mul_s64_overflow(emk_tl_unzigzag(value - 1), units[tl->scale], &e->value))
			emk_tl_malformed();
	}
	if (r->ids && emk_tl_id(tl, &r->ids, &e->id))
		e->has |= EMK_EVENT_ID;
	if ((r->next++ & 0xfff) == 0)
		CHECK_FOR_INTERRUPTS();
	return true;
}

/* ---- output ---- */

static void
append_time(StringInfo out, int64 at)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		buf[MAXDATELEN + 1];

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	tm.tm_isdst = 0;
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, buf);
	appendStringInfo(out, "\"%s\"", buf);
}

static void
append_text(StringInfo out, const EmkNamed *text)
{
	pg_verifymbstr(text->name, text->len, false);
	escape_json(out, pnstrdup(text->name, text->len));
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_out);
Datum
emk_analytics_timeline_out(PG_FUNCTION_ARGS)
{
	EmkTimelineReader r;
	StringInfoData out;

	emk_timeline_start_reading(&r, PG_GETARG_VARLENA_PP(0));
	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	while (emk_timeline_read(&r))
	{
		appendStringInfoString(&out, r.next > 1 ? ", {\"at\": " : "{\"at\": ");
		append_time(&out, r.event.at);
		appendStringInfoString(&out, ", \"event\": ");
		append_text(&out, &r.names[r.event.name]);
		if (r.event.key > 0)
		{
			appendStringInfoString(&out, ", \"key\": ");
			append_text(&out, &r.keys[r.event.key - 1]);
		}
		if (r.event.has & EMK_EVENT_VALUE)
			appendStringInfo(&out, ", \"value\": %s",
							 DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(emk_timeline_numeric(r.event.value)))));
		if (r.event.has & EMK_EVENT_ID)
			appendStringInfo(&out, ", \"id\": " INT64_FORMAT, r.event.id);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	PG_RETURN_CSTRING(out.data);
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_recv);
Datum
emk_analytics_timeline_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	EmkTimelineBuilder *b = emk_analytics_start_timeline();
	int			size = buf->len - buf->cursor;
	const uint8 *bytes = (const uint8 *) pq_getmsgbytes(buf, size);

	emk_timeline_add_bytes(b, bytes, size);
	PG_RETURN_POINTER(emk_analytics_finish_timeline(b));
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_send);
Datum
emk_analytics_timeline_send(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_GETARG_VARLENA_PP(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbytes(&buf, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ERROR 22021 for bytes that are no text in this database: nothing malformed gets out of a timeline. */
static Datum
checked_text(const EmkNamed *text)
{
	pg_verifymbstr(text->name, text->len, false);
	return PointerGetDatum(cstring_to_text_with_len(text->name, text->len));
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_unnest);
/* unnest(timeline) -> rows (at, event, key, value, id) */
Datum
emk_analytics_timeline_unnest(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EmkTimelineReader r;

	InitMaterializedSRF(fcinfo, 0);
	emk_timeline_start_reading(&r, PG_GETARG_VARLENA_PP(0));
	while (emk_timeline_read(&r))
	{
		Datum		v[5] = {0};
		bool		nulls[5] = {false};

		v[0] = TimestampTzGetDatum(r.event.at);
		v[1] = checked_text(&r.names[r.event.name]);
		nulls[2] = r.event.key == 0;
		if (!nulls[2])
			v[2] = checked_text(&r.keys[r.event.key - 1]);
		nulls[3] = !(r.event.has & EMK_EVENT_VALUE);
		if (!nulls[3])
			v[3] = NumericGetDatum(emk_timeline_numeric(r.event.value));
		nulls[4] = !(r.event.has & EMK_EVENT_ID);
		if (!nulls[4])
			v[4] = Int64GetDatum(r.event.id);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, nulls);
	}
	return (Datum) 0;
}
