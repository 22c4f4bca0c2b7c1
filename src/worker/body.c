/*
 * body.c: what a message says. The text is made once, when the run is decided, and stored with the delivery: an id has one body
 * for ever.
 *
 *   {"type": rule, "timestamp": …, "data": {"user_id", "traits", "event": {"id", "name", "occurred_at", "properties"},
 *    "key", "rule", "rule_version", "run_id"}}
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "worker/pass.h"

static void
append_time(StringInfo buf, const char *key, TimestampTz t)
{
	static const int utc = 0;
	char		iso[MAXDATELEN + 1];

	JsonEncodeDateTime(iso, TimestampTzGetDatum(t), TIMESTAMPTZOID, &utc);
	emk_json_append_string(buf, key, iso);
}

char *
emk_worker_body(const EmkRun *run, const EmkRule *rule, const char *user_id, Jsonb *traits, TimestampTz now)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "type", rule->name);
	appendStringInfoString(&buf, ", ");
	append_time(&buf, "timestamp", now);
	appendStringInfoString(&buf, ", \"data\": {");
	emk_json_append_string(&buf, "user_id", user_id);
	appendStringInfoString(&buf, ", ");
	emk_json_append_jsonb(&buf, "traits", traits);
	appendStringInfo(&buf, ", \"event\": {\"id\": " INT64_FORMAT ", ", run->event_id);
	emk_json_append_string(&buf, "name", run->event_name);
	appendStringInfoString(&buf, ", ");
	append_time(&buf, "occurred_at", run->event_at);
	appendStringInfoString(&buf, ", ");
	emk_json_append_jsonb(&buf, "properties", run->properties);
	appendStringInfoString(&buf, "}, ");
	emk_json_append_string(&buf, "key", run->key[0] == '\0' ? NULL : run->key);
	appendStringInfoString(&buf, ", ");
	emk_json_append_string(&buf, "rule", rule->name);
	appendStringInfo(&buf, ", \"rule_version\": %d, \"run_id\": " INT64_FORMAT "}}", rule->version, run->run_id);
	return buf.data;
}
