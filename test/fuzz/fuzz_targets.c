/*
 * fuzz_targets.c: what is fuzzed: everything of the extension that reads bytes somebody else wrote.
 */
#include "fuzz.h"

#include "analytics/analytics.h"
#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "lib/stringinfo.h"
#include "rule/rule.h"
#include "rule/rule_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"
#include "utils/regproc.h"

Oid
emk_fuzz_function(const char *signature)
{
	return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(signature)));
}

/* as OidFunctionCallN, but the answer may be NULL */
static void
call(Oid oid, int nargs, const Datum *args)
{
	LOCAL_FCINFO(fcinfo, 8);
	FmgrInfo	flinfo;

	fmgr_info(oid, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, nargs, InvalidOid, NULL, NULL);
	for (int i = 0; i < nargs; i++)
		fcinfo->args[i] = (NullableDatum) {.value = args[i]};
	(void) FunctionCallInvoke(fcinfo);
}

#define CALL(oid, ...) call((oid), lengthof(((Datum[]) {__VA_ARGS__})), (Datum[]) {__VA_ARGS__})

/* calls of one argument, looked up once; a call that raises does not keep the next from being made */
typedef struct Call
{
	const char *signature;
	Oid			oid;
} Call;

static void
call_one(Call *c, Datum value)
{
	MemoryContext mine = CurrentMemoryContext;

	if (c->oid == InvalidOid)
		c->oid = emk_fuzz_function(c->signature);
	PG_TRY();
	{
		CALL(c->oid, value);
	}
	PG_CATCH();
	{
		emk_fuzz_go_on(mine);
	}
	PG_END_TRY();
}

static Call readers[] = {
	{"eventmkt.timeline_out(eventmkt.timeline)"}, {"eventmkt.count(eventmkt.timeline)"}, {"eventmkt.sum(eventmkt.timeline)"},
	{"eventmkt.first_at(eventmkt.timeline)"}, {"eventmkt.last_at(eventmkt.timeline)"}, {"eventmkt.cadence(eventmkt.timeline)"},
	{"eventmkt.first_touch(eventmkt.timeline)"}, {"eventmkt.last_touch(eventmkt.timeline)"}
};

static void
read_timeline(Datum t)
{
	static Oid	merge, top, streak, hours, slice, funnel, sequence, keys, retained, sessions, window;
	static ArrayType *names;
	Interval	day = {.day = 1};

	for (int i = 0; i < lengthof(readers); i++)
		call_one(&readers[i], t);
	if (merge == InvalidOid)
	{
		Datum		v[] = {CStringGetTextDatum("a"), CStringGetTextDatum("b")};
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		names = construct_array(v, 2, TEXTOID, -1, false, TYPALIGN_INT);
		MemoryContextSwitchTo(old);
		top = emk_fuzz_function("eventmkt.top_values(eventmkt.timeline,int)");
		streak = emk_fuzz_function("eventmkt.streak(eventmkt.timeline,text,int)");
		hours = emk_fuzz_function("eventmkt.engaged_hours(eventmkt.timeline,text)");
		slice = emk_fuzz_function("eventmkt.slice(eventmkt.timeline,timestamptz,timestamptz)");
		funnel = emk_fuzz_function("eventmkt.funnel(eventmkt.timeline,interval,text[])");
		sequence = emk_fuzz_function("eventmkt.sequence_count(eventmkt.timeline,text,text[])");
		keys = emk_fuzz_function("eventmkt.abandoned_keys(eventmkt.timeline,text,text,interval,bool)");
		retained = emk_fuzz_function("eventmkt.retained(eventmkt.timeline,text,text,interval,int)");
		sessions = emk_fuzz_function("eventmkt.sessions(eventmkt.timeline,interval)");
		window = emk_fuzz_function("eventmkt.max_in_window(eventmkt.timeline,interval)");
		merge = emk_fuzz_function("eventmkt.merge(eventmkt.timeline,eventmkt.timeline)");
	}
	CALL(merge, t, t);
	CALL(funnel, t, IntervalPGetDatum(&day), PointerGetDatum(names));
	CALL(sequence, t, CStringGetTextDatum("(?1)(?t>1m).*(?2)"), PointerGetDatum(names));
	CALL(keys, t, CStringGetTextDatum("a"), CStringGetTextDatum("b"), IntervalPGetDatum(&day), BoolGetDatum(true));
	CALL(retained, t, CStringGetTextDatum("a"), CStringGetTextDatum("b"), IntervalPGetDatum(&day), Int32GetDatum(7));
	CALL(sessions, t, IntervalPGetDatum(&day));
	CALL(window, t, IntervalPGetDatum(&day));
	CALL(slice, t, TimestampTzGetDatum(0), TimestampTzGetDatum(INT64CONST(900000000000000000)));
	CALL(top, t, Int32GetDatum(3));
	CALL(streak, t, CStringGetTextDatum("Europe/Berlin"), Int32GetDatum(1));
	CALL(hours, t, CStringGetTextDatum("UTC"));
}

/* what recv makes of the bytes, and the bytes themselves, as a damaged page would hand them out */
static void
run_timeline(const uint8 *data, size_t n)
{
	StringInfoData in;
	struct varlena *raw = palloc(VARHDRSZ + n);
	static Oid	recv;

	SET_VARSIZE(raw, VARHDRSZ + n);
	memcpy(VARDATA(raw), data, n);
	for (int i = 0; i < lengthof(readers); i++)
		call_one(&readers[i], PointerGetDatum(raw));
	if (recv == InvalidOid)
		recv = emk_fuzz_function("eventmkt.timeline_recv(internal)");
	in.data = VARDATA(raw);
	in.len = in.maxlen = n;
	in.cursor = 0;
	read_timeline(OidFunctionCall1(recv, PointerGetDatum(&in)));
}

static void
run_raw(const uint8 *data, size_t n)
{
	struct varlena *raw = palloc(VARHDRSZ + n);

	SET_VARSIZE(raw, VARHDRSZ + n);
	memcpy(VARDATA(raw), data, n);
	read_timeline(PointerGetDatum(raw));
}

static Call ends[] = {
	{"eventmkt.funnel_end(bytea)"}, {"eventmkt.funnel_times_end(bytea)"}, {"eventmkt.sequence_match_end(bytea)"}, {"eventmkt.sequence_count_end(bytea)"},
	{"eventmkt.sequence_events_end(bytea)"}, {"eventmkt.abandoned_end(bytea)"}, {"eventmkt.abandoned_keyed_end(bytea)"}, {"eventmkt.abandoned_keys_end(bytea)"},
	{"eventmkt.retention_end(bytea)"}, {"eventmkt.retained_end(bytea)"}, {"eventmkt.cohort_retention_end(bytea)"}, {"eventmkt.sessions_end(bytea)"},
	{"eventmkt.max_in_window_end(bytea)"}, {"eventmkt.cadence_end(bytea)"}, {"eventmkt.streak_end(bytea)"}, {"eventmkt.engaged_hours_end(bytea)"},
	{"eventmkt.first_touch_end(bytea)"}, {"eventmkt.last_touch_end(bytea)"}, {"eventmkt.top_values_end(bytea)"}, {"eventmkt.timeline_end(bytea)"}
};

/* every end sees the state: all but those of its kind must refuse it; then it is merged with itself and ended */
static void
run_state(const uint8 *data, size_t n)
{
	static Oid	merge;
	bytea	   *state = palloc(VARHDRSZ + n);

	SET_VARSIZE(state, VARHDRSZ + n);
	memcpy(VARDATA(state), data, n);
	for (int i = 0; i < lengthof(ends); i++)
		call_one(&ends[i], PointerGetDatum(state));
	if (merge == InvalidOid)
		merge = emk_fuzz_function("eventmkt.state_merge(bytea,bytea)");
	state = DatumGetByteaP(OidFunctionCall2(merge, PointerGetDatum(state), PointerGetDatum(state)));
	for (int i = 0; i < lengthof(ends); i++)
		call_one(&ends[i], PointerGetDatum(state));
}

static void
run_rollup(const uint8 *data, size_t n)
{
	static Oid	merge, json;
	bytea	   *part = palloc(VARHDRSZ + n);

	SET_VARSIZE(part, VARHDRSZ + n);
	memcpy(VARDATA(part), data, n);
	if (json == InvalidOid)
	{
		merge = emk_fuzz_function("eventmkt.rollup_merge(bytea,bytea)");
		json = emk_fuzz_function("eventmkt.rollup_json(bytea,int)");
	}
	CALL(merge, PointerGetDatum(part), PointerGetDatum(part));
	CALL(json, PointerGetDatum(part), Int32GetDatum(3));
}

static void
run_url(const uint8 *data, size_t n)
{
	EmkUrl		url;
	const char *hint;

	for (int plain = 0; plain < 2; plain++)
	{
		emk_guc_allow_plain_http = plain;
		(void) emk_url_check(emk_fuzz_string(data, n), &url, &hint);
	}
}

static void
run_retry(const uint8 *data, size_t n)
{
	(void) emk_retry_after_seconds(emk_fuzz_string(data, n), 0);
}

static void
run_secret(const uint8 *data, size_t n)
{
	uint8	   *key = palloc(EMK_SECRET_MAX_BYTES);

	(void) emk_sign_parse_secret(emk_fuzz_string(data, n), key);
}

/* a document that is small, and one that is so large that no condition counts as hot */
static Jsonb *
document(bool large)
{
	static Jsonb *made[2];

	if (made[large] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		char	   *filler = palloc0(EMK_RULE_HOT_BYTES + 1);

		memset(filler, 'x', large ? EMK_RULE_HOT_BYTES : 1);
		made[large] = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
			CStringGetDatum(psprintf("{\"a\": 1, \"b\": [\"x\", null, 2.5], \"c\": {\"d\": \"2026-01-01\"}, \"e\": \"%s\"}", filler))));
		MemoryContextSwitchTo(old);
	}
	return made[large];
}

static void
run_condition(const uint8 *data, size_t n)
{
	JsonPath   *path = DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(emk_fuzz_string(data, n))));
	EmkCondition c;
	char	   *error;

	emk_rule_analyse(path, &c);
	if (!c.predicate)
		return;
	(void) emk_rule_test(path, c.cold, document(false), &error);
	if (n % 4 == 0)
	{
		(void) emk_rule_test(path, c.cold, document(true), &error);
		(void) emk_rule_audience_facts(document(n % 8 == 0), error);
		(void) emk_rule_test(n % 16 == 0 ? NULL : path, c.cold, document(true), NULL);
	}
}

static void
run_pattern(const uint8 *data, size_t n)
{
	static Oid	oid, in;
	static ArrayType *names;
	static Datum line;

	if (oid == InvalidOid)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		Datum		v[] = {CStringGetTextDatum("a"), CStringGetTextDatum("b")};

		names = construct_array(v, 2, TEXTOID, -1, false, TYPALIGN_INT);
		in = emk_fuzz_function("eventmkt.timeline_in(cstring)");
		line = OidFunctionCall1(in, CStringGetDatum("[{\"at\": \"2026-01-01\", \"event\": \"a\"}, {\"at\": \"2026-01-02\", \"event\": \"b\"}, {\"at\": \"2026-01-02\", \"event\": \"a\"}]"));
		oid = emk_fuzz_function("eventmkt.sequence_events(eventmkt.timeline,text,text[])");
		MemoryContextSwitchTo(old);
	}
	CALL(oid, line, CStringGetTextDatum(emk_fuzz_string(data, n)), PointerGetDatum(names));
}

static void
run_json_timeline(const uint8 *data, size_t n)
{
	static Oid	in;

	if (in == InvalidOid)
		in = emk_fuzz_function("eventmkt.timeline_in(cstring)");
	read_timeline(OidFunctionCall1(in, CStringGetDatum(emk_fuzz_string(data, n))));
}

static void
run_ingest(const uint8 *data, size_t n)
{
	static Oid	oid;

	if (oid == InvalidOid)
		oid = emk_fuzz_function("eventmkt.ingest(jsonb)");
	CALL(oid, DirectFunctionCall1(jsonb_in, CStringGetDatum(emk_fuzz_string(data, n))));
}

static const char *const http_words[] = {"HTTP/1.1 ", "HTTP/2 503\r\n", "Retry-After: ", "retry-after:", "\r\n", "\n", "Sun, 06 Nov 1994 08:49:37 GMT", "429", "99999999999", "\t", NULL};
static const char *const http_seeds[] = {"HTTP/1.1 503 No\r\nRetry-After: 120\r\n\r\nbody", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429\r\nretry-after: Sun, 06 Nov 2005 08:49:37 GMT\r\n\r\n", NULL};
static const char *const retry_seeds[] = {"120", " 3600 ", "Sun, 06 Nov 2005 08:49:37 GMT", "Tue, 29 Feb 2000 23:59:60 GMT", NULL};
static const char *const url_words[] = {"https://", "http://", "[::1]", "[fe80::1%25eth0]", "127.1", "0x7f", "@", ":", ":65536", "/", "?", "#", "%00", "..", "localhost", "xn--", NULL};
static const char *const url_seeds[] = {"https://hooks.example.com:8443/p?x=1", "http://[::ffff:127.0.0.1]:8080/", "https://2130706433/", "http://localhost:80/", "https://a.localhost./", "http://h:81/", "https://[::1/", "https://[v1.x]/", "https://a[b]/", NULL};
static const char *const secret_seeds[] = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", NULL};
static const char *const condition_words[] = {"$", "@", ".a", "\"a\"", "[*]", "[0 to last]", ".**{2}", " == ", " && ", " || ", "!(", " ? (", ")", "exists (", " like_regex \"", " starts with \"", " is unknown", ".size()",
	".double()", ".datetime()", ".keyvalue()", "null", "true", "1e400", "-", "strict ", "lax ", "$x", " != ", " < ", " <= ", " >= ", " + ", " * ", " / ", " % ", "+(", ".type()", ".*", "(", "$.e", NULL};
static const char *const condition_seeds[] = {"$.a == 1", "$.a > 0 && ($.b[*] == \"x\" || !exists ($.c.d))", "strict $.b[1] ? (@ == null)", "$.c.d starts with \"2026\"",
	"($.a != 2) is unknown || !($.a < $.b.size())", "$.b[*] >= +$.a / 2 - 1 % 3", "$.a.type() == \"number\" && $.a.double() <= 1", "strict $.a == 1", "$.a > 0 && $.c.d == \"x\"", "exists ($.*)", "$.c.d like_regex \"^2\"",
	"$.c.d.datetime() == \"2026-01-01\".datetime()", "$.a.nosuch == 1 && 1 == $.a", "$.e like_regex \"((((x+)+)+)+)+y\"", "$.e.datetime() == 1   ", "$.a == 1    ", "null == $.b && $.a == true", "$.**.a == $.a * 2", NULL};
static const char *const pattern_words[] = {"(?1)", "(?2)", "(?t>1m)", "(?t<=2d)", "(?t==", ".*", ".", ")", "(?", "99999999999", "h", NULL};
static const char *const pattern_seeds[] = {"(?1)(?t>1m).*(?2)", "(?1).(?2)", NULL};
static const char *const message_words[] = {"\"type\": \"", "track", "identify", "alias", "group", "page", "screen", "batch", "\"userId\": \"u\"", "\"anonymousId\": 1", "\"previousId\"", "\"traits\": {}", "\"properties\": {}",
	"\"event\": \"E\"", "\"messageId\"", "\"timestamp\": \"2026-01-01T00:00:00.000Z\"", "\"sentAt\"", "\"originalTimestamp\"", "\"receivedAt\"", "\"context\": {\"traits\": {}}", "null", "[", "]", "{", "}", ",", "1e400", "+99:99",
	"\"timestamp\": 1767225600000", "\"timestamp\": -1", "\"timestamp\": true", "\"name\": \"n\"", "\"category\": \"c\"", "\"groupId\"", "0000-01-01", "2026-02-30", "2026-13-01", "2026-01-01 00:00", "12:60", "T12:00:6", "-0a:00", "\"\"", "anonymous", NULL};
static const char *const message_seeds[] = {
	"{\"type\": \"page\", \"anonymousId\": 1, \"name\": \"n\", \"category\": \"c\", \"properties\": {\"a\": 1}, \"timestamp\": 1767225600000, \"receivedAt\": \"2026-01-01\"}",
	"{\"type\": \"screen\", \"userId\": \"u\", \"anonymousId\": \"x\", \"name\": \"n\", \"properties\": null, \"originalTimestamp\": \"2026-01-01 10:11:12,5-0530\", \"sentAt\": \"2026-01-01\"}",
	"{\"type\": \"identify\", \"anonymousId\": \"a\", \"userId\": \"anonymous\", \"traits\": {\"a\": 1}}", "{\"type\": \"batch\"}", "{\"type\": \"identify\", \"anonymousId\": \"a\"}",
	"[{\"type\": \"identify\", \"anonymousId\": \"a\", \"userId\": \"b\"}, {\"type\": \"identify\", \"anonymousId\": \"guest\", \"userId\": \"null\"}, {\"type\": \"track\", \"event\": \"E\", \"userId\": 3}]",
	"{\"type\": \"identify\", \"userId\": \"u\", \"traits\": []}", "{\"type\": \"alias\", \"previousId\": \"null\", \"userId\": \"u\"}", "7",
	"{\"type\": \"track\", \"userId\": \"u\", \"event\": \"E\", \"properties\": {\"a\": 1}, \"messageId\": \"s1\", \"timestamp\": \"2026-01-01T00:00:00.000Z\", \"sentAt\": \"2026-01-01T00:00:01+01:00\"}",
	"{\"batch\": [{\"type\": \"identify\", \"userId\": \"u\", \"traits\": {\"a\": 1}}, {\"type\": \"alias\", \"previousId\": \"x\", \"userId\": \"u\"}, {\"type\": \"group\", \"groupId\": 7, \"userId\": \"u\"}], \"sentAt\": \"2026\"}", NULL};
static const char *const line_words[] = {"\"at\": \"2026-01-01\"", "\"event\": \"a\"", "\"key\": \"k\"", "\"value\": -1.5", "\"id\": 9223372036854775807", "null", "infinity", "1e11", "[", "]", "{", "}", ",", "\\x01", NULL};
static const char *const line_seeds[] = {"[{\"at\": \"2026-01-01\", \"event\": \"a\", \"key\": \"k\", \"value\": 1.5, \"id\": 7}, {\"at\": \"2026-01-02\", \"event\": \"b\"}]", "\\\\x010100", NULL};
static const char *const none[] = {NULL};

const Target emk_fuzz_targets[] = {
	{"timeline", run_timeline, false, false, none, none},
	{"raw_timeline", run_raw, false, false, none, none},
	{"timeline_text", run_json_timeline, false, true, line_words, line_seeds},
	{"state", run_state, false, false, none, none},
	{"rollup", run_rollup, false, false, none, none},
	{"url", run_url, false, false, url_words, url_seeds},
	{"retry_after", run_retry, false, false, http_words, retry_seeds},
	{"answer", emk_fuzz_answer, false, false, http_words, http_seeds},
	{"secret", run_secret, false, false, none, secret_seeds},
	{"condition", run_condition, false, true, condition_words, condition_seeds},
	{"pattern", run_pattern, false, true, pattern_words, pattern_seeds},
	{"ingest", run_ingest, true, true, message_words, message_seeds},
	{"calls", emk_fuzz_calls, true, false, none, none}
};
const int	emk_fuzz_ntargets = lengthof(emk_fuzz_targets);
