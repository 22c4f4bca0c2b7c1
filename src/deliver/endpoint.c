/*
 * endpoint.c: the operator's functions over endpoints and their secrets. They lie here and not with the rules because they
 * judge URLs, addresses, schedules and secrets, which are matters of this layer.
 *
 * Everything is judged before anything is stored. A secret is shown once, when it is made; nothing else returns it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define MIN_TIMEOUT_MS		100
#define MAX_TIMEOUT_MS		300000
#define MAX_TRIES			50
#define MAX_GAP_SECONDS		(30 * 86400)
#define MAX_ENDPOINT_FLIGHT	1000
#define MAX_RATE			100000

/* an endpoint as its functions' arguments say; `values` and `nulls` are those of the plans below, in their order */
typedef struct Endpoint
{
	char	   *name;
	char	   *secret;			/* NULL: not given */
	Datum		values[11];
	char		nulls[12];
	bool		ordered;
} Endpoint;

static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.endpoint (name, url, headers, method, timeout_ms, max_in_flight, rate_limit, schedule, "
	"give_up_after, ordered, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (name) DO NOTHING", 11,
	{TEXTOID, TEXTOID, JSONBOID, TEXTOID, INT4OID, INT4OID, INT4OID, INT4ARRAYOID, INTERVALOID, BOOLOID, TIMESTAMPTZOID}
};
static EmkPlan update_plan = {
	"UPDATE eventmkt_data.endpoint SET url = $2, headers = $3, method = $4, timeout_ms = $5, max_in_flight = $6, "
	"rate_limit = $7, schedule = $8, give_up_after = $9, ordered = $10 WHERE name OPERATOR(pg_catalog.=) $1", 10,
	{TEXTOID, TEXTOID, JSONBOID, TEXTOID, INT4OID, INT4OID, INT4OID, INT4ARRAYOID, INTERVALOID, BOOLOID}
};
static EmkPlan switch_plan = {
	"UPDATE eventmkt_data.endpoint SET enabled = $2, disabled_reason = $3 WHERE name OPERATOR(pg_catalog.=) $1 "
	"RETURNING endpoint_id", 3, {TEXTOID, BOOLOID, TEXTOID}
};
static EmkPlan lock_plan = {
	"SELECT endpoint_id, ordered FROM eventmkt_data.endpoint WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE", 1, {TEXTOID}
};
static EmkPlan forget_state_plan = {
	"DELETE FROM eventmkt_data.endpoint_state WHERE endpoint_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan users_plan = {
	"SELECT r.name FROM eventmkt_data.rule r WHERE r.endpoint_id OPERATOR(pg_catalog.=) $1 AND (r.current OR EXISTS ("
	"SELECT FROM eventmkt_data.pending_trigger p WHERE p.rule_id OPERATOR(pg_catalog.=) r.rule_id "
	"AND p.rule_version OPERATOR(pg_catalog.=) r.version)) ORDER BY r.name LIMIT 1", 1, {INT4OID}
};
static EmkPlan drop_plan = {
	"DELETE FROM eventmkt_data.endpoint WHERE endpoint_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan drop_secrets_plan = {
	"DELETE FROM eventmkt.secret WHERE endpoint OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan add_secret_plan = {
	"INSERT INTO eventmkt.secret (endpoint, secret, created_at) VALUES ($1, $2, $3)", 3,
	{TEXTOID, BYTEAOID, TIMESTAMPTZOID}
};
static EmkPlan retire_expired_plan = {
	"DELETE FROM eventmkt.secret WHERE endpoint OPERATOR(pg_catalog.=) $1 AND expires_at OPERATOR(pg_catalog.<=) $2", 2,
	{TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan retire_plan = {
	"UPDATE eventmkt.secret SET expires_at = $2 WHERE endpoint OPERATOR(pg_catalog.=) $1 AND expires_at IS NULL", 2,
	{TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan count_secrets_plan = {
	"SELECT pg_catalog.count(*) FROM eventmkt.secret WHERE endpoint OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};

static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 hint ? errhint("%s", hint) : 0));
}

static void
unknown(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_EMK_UNKNOWN_ENDPOINT),
			 errmsg("endpoint \"%s\" does not exist", name),
			 errhint("Make it with eventmkt.create_endpoint().")));
}

static char *
required(FunctionCallInfo fcinfo, int arg, const char *what)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what),
				 errhint("An endpoint has a name, a URL and a method.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
check_name(char *name)
{
	size_t		len = strlen(name);

	if (len == 0)
		refuse("the name of an endpoint is empty", "Give it the name that rules send to.");
	if (len > EMK_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the name of an endpoint is longer than %d bytes (EMK_MAX_NAME_BYTES)", EMK_MAX_NAME_BYTES),
				 errhint("Give a shorter one.")));
	for (const unsigned char *p = (const unsigned char *) name; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			refuse("the name of an endpoint contains a control character", "Leave it out.");
	if (strcmp(name, "none") == 0)
		refuse("an endpoint cannot be named \"none\"", "send_to => 'none' means that a rule only records.");
	return name;
}

static void
check_url(const char *url)
{
	EmkUrl		parts;
	const char *hint;
	const char *error = emk_url_check(url, &parts, &hint);

	if (error != NULL)
		refuse(error, hint);
	if (parts.blocked)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_BLOCKED_ADDRESS),
				 errmsg("the host of the URL lies in a network that is not allowed"),
				 errhint("A superuser can add the network to eventmkt.allowed_networks.")));
}

/* Is the line's name one that HTTP, curl or the signature needs for itself? */
static bool
reserved(const char *name)
{
	static const char *const names[] = {
		"host", "content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade", "keep-alive",
		"http2-settings", "accept-encoding", "content-encoding", "proxy-authorization", "proxy-authenticate",
		"proxy-connection", "cookie"
	};

	for (int i = 0; i < lengthof(names); i++)
		if (pg_strcasecmp(name, names[i]) == 0)
			return true;
	return pg_strncasecmp(name, "webhook-", 8) == 0;
}

static char *
header_line(char *name, JsonbValue *v)
{
	char	   *value;

	if (v->type != jbvString)
		refuse("the value of a header is not a string", "Write headers as {\"Name\": \"value\"}.");
	value = pnstrdup(v->val.string.val, v->val.string.len);
	if (strlen(name) + strlen(value) > EMK_MAX_HEADER_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a header is longer than %d bytes (EMK_MAX_HEADER_BYTES)", EMK_MAX_HEADER_BYTES)));
	if (name[0] == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$%&'*+^`|~")
		!= strlen(name))
		refuse("the name of a header contains a character that is not allowed", NULL);
	if (reserved(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header \"%s\" cannot be set", name),
				 errdetail("It belongs to the transport or to the signature."),
				 errhint("Leave it out, or use another name.")));
	for (const unsigned char *p = (const unsigned char *) value; *p; p++)
		if (*p < 0x20 || *p >= 0x7f)
			refuse("the value of a header contains a character that is not allowed",
				   "A value holds printable ASCII characters and spaces.");
	/* an empty value is written with a semicolon for curl; with a colon it would take the header away */
	return value[strspn(value, " ")] == '\0' ? psprintf("%s;", name) : psprintf("%s: %s", name, value);
}

int
emk_endpoint_headers(Jsonb *headers, char ***lines)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *name = NULL;
	int			n = 0;

	if (!JB_ROOT_IS_OBJECT(headers))
		refuse("headers are not a JSON object", "Write headers as {\"Name\": \"value\"}.");
	if (JB_ROOT_COUNT(headers) > EMK_MAX_HEADERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an endpoint has more than %d headers (EMK_MAX_HEADERS)", EMK_MAX_HEADERS)));
	*lines = palloc(sizeof(char *) * EMK_MAX_HEADERS);
	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
			(*lines)[n++] = header_line(name, &v);
	}
	return n;
}

static int
check_timeout(Interval *iv)
{
	double		ms;

	if (iv->month != 0 || iv->day < 0 || iv->day > 1)
		refuse("the timeout of an endpoint lies outside 100 ms to 5 minutes", "Leave the argument out to take its default.");
	ms = (iv->day * (double) USECS_PER_DAY + iv->time) / 1000;
	if (!(ms >= MIN_TIMEOUT_MS && ms <= MAX_TIMEOUT_MS))
		refuse("the timeout of an endpoint lies outside 100 ms to 5 minutes", "Leave the argument out to take its default.");
	return (int) ms;
}

static Datum
check_schedule(FunctionCallInfo fcinfo, int arg)
{
	ArrayType  *a;
	int32	   *gaps;
	int			n;

	if (PG_ARGISNULL(arg))
	{
		Datum		d[16];

		for (int i = 0; i < emk_retry_default_length; i++)
			d[i] = Int32GetDatum(emk_retry_default[i]);
		return emk_spi_array(d, NULL, emk_retry_default_length, INT4OID);
	}
	a = PG_GETARG_ARRAYTYPE_P(arg);
	if (ARR_NDIM(a) > 1 || array_contains_nulls(a))
		refuse("a schedule is a one-dimensional array of seconds without nulls", NULL);
	n = ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	gaps = (int32 *) ARR_DATA_PTR(a);
	if (n > MAX_TRIES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a schedule has more than %d gaps", MAX_TRIES)));
	for (int i = 0; i < n; i++)
		if (gaps[i] < 0 || gaps[i] > MAX_GAP_SECONDS)
			refuse("a gap of the schedule lies outside 0 seconds to 30 days",
				   "A schedule holds the seconds between one try and the next.");
	return PointerGetDatum(a);
}

static int
check_int(FunctionCallInfo fcinfo, int arg, const char *what, int least, int most)
{
	int			v = PG_ARGISNULL(arg) ? least - 1 : PG_GETARG_INT32(arg);

	if (v < least || v > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s lies outside %d to %d", what, least, most),
				 errhint("Leave the argument out to take its default.")));
	return v;
}

/* Reads and judges the eleven arguments that create_endpoint() and replace_endpoint() share. */
static void
read_arguments(FunctionCallInfo fcinfo, Endpoint *e)
{
	char	   *url;
	char	   *method;
	Interval   *give_up;
	char	  **lines;

	memset(e->nulls, ' ', 11);
	e->nulls[11] = '\0';
	e->name = check_name(required(fcinfo, 0, "the name of an endpoint"));
	url = required(fcinfo, 1, "the URL of an endpoint");
	check_url(url);
	e->secret = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (PG_ARGISNULL(3))
		refuse("headers are not a JSON object", "Write headers as {\"Name\": \"value\"}.");
	emk_endpoint_headers(PG_GETARG_JSONB_P(3), &lines);
	method = required(fcinfo, 4, "the method of an endpoint");
	if (strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0 && strcmp(method, "PATCH") != 0)
		refuse("unknown method of an endpoint", "The methods are POST, PUT and PATCH.");
	if (PG_ARGISNULL(5))
		refuse("the timeout of an endpoint lies outside 100 ms to 5 minutes", "Leave the argument out to take its default.");
	give_up = PG_ARGISNULL(9) ? NULL : PG_GETARG_INTERVAL_P(9);
	if (give_up == NULL || give_up->month < 0 || give_up->day < 0 || give_up->time < 0 || give_up->month > 12 ||
		give_up->day > 366 || give_up->time > 366 * USECS_PER_DAY || give_up->month + give_up->day + give_up->time == 0)
		refuse("give_up_after is not above zero and at most a year", "Leave the argument out to take its default.");
	e->values[0] = CStringGetTextDatum(e->name);
	e->values[1] = CStringGetTextDatum(url);
	e->values[2] = PG_GETARG_DATUM(3);
	e->values[3] = CStringGetTextDatum(method);
	e->values[4] = Int32GetDatum(check_timeout(PG_GETARG_INTERVAL_P(5)));
	e->values[5] = Int32GetDatum(check_int(fcinfo, 6, "max_in_flight", 1, MAX_ENDPOINT_FLIGHT));
	if (PG_ARGISNULL(7))
		e->nulls[6] = 'n';
	else
		e->values[6] = Int32GetDatum(check_int(fcinfo, 7, "rate_limit", 1, MAX_RATE));
	e->values[7] = check_schedule(fcinfo, 8);
	e->values[8] = IntervalPGetDatum(give_up);
	if (PG_ARGISNULL(10))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("ordered must not be null"),
				 errhint("Leave the argument out to take its default.")));
	e->ordered = PG_GETARG_BOOL(10);
	e->values[9] = BoolGetDatum(e->ordered);
	e->values[10] = TimestampTzGetDatum(emk_clock_now());
}

/* The bytes of a given secret, or fresh ones. */
static int
read_secret(const char *given, uint8 *key)
{
	int			len;

	if (given == NULL)
	{
		emk_sign_make_secret(key);
		return EMK_SECRET_NEW_BYTES;
	}
	len = emk_sign_parse_secret(given, key);
	if (len < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed secret"),
				 errhint("A secret is whsec_ followed by the base64 of %d to %d bytes; without one a new one is made.",
						 EMK_SECRET_MIN_BYTES, EMK_SECRET_MAX_BYTES)));
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a secret that is written into a statement may end up in logs and statistics"),
			 errhint("Let eventmkt make the secret, or pass it as a parameter with logging of parameters off.")));
	return len;
}

/* Makes `key` the current secret; the ones before it expire at `expire`, or go at once when that is 0. */
static void
store_secret(const char *name, const uint8 *key, int len, TimestampTz expire)
{
	TimestampTz now = emk_clock_now();
	bytea	   *bytes = palloc(VARHDRSZ + len);
	Datum		retire[2] = {CStringGetTextDatum(name), TimestampTzGetDatum(expire)};
	Datum		add[3] = {retire[0], PointerGetDatum(bytes), TimestampTzGetDatum(now)};

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), key, len);
	if (expire == 0)
		emk_spi_run(&drop_secrets_plan, retire, NULL, false, 0);
	else
	{
		Datum		expired[2] = {retire[0], TimestampTzGetDatum(now)};

		emk_spi_run(&retire_expired_plan, expired, NULL, false, 0);
		emk_spi_run(&retire_plan, retire, NULL, false, 0);
		emk_spi_run(&count_secrets_plan, retire, NULL, false, 0);
		if (emk_spi_int8(0, 1, 0) >= EMK_SECRETS_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("endpoint \"%s\" has %d secrets that are still valid", name, EMK_SECRETS_MAX),
					 errhint("Wait until one has expired, or replace them all with eventmkt.set_secret().")));
	}
	emk_spi_run(&add_secret_plan, add, NULL, false, 0);
}

/* The id of an endpoint, its row locked; ERROR EM003 when there is none. */
static int32
lock_endpoint(const char *name)
{
	Datum		arg = CStringGetTextDatum(name);

	if (emk_spi_run(&lock_plan, &arg, NULL, false, 1) == 0)
		unknown(name);
	return emk_spi_int4(0, 1, 0);
}

PG_FUNCTION_INFO_V1(emk_deliver_create_endpoint);
/* eventmkt.create_endpoint(…) → the secret */
Datum
emk_deliver_create_endpoint(PG_FUNCTION_ARGS)
{
	Endpoint	e;
	EmkOwner	owner;
	uint8		key[EMK_SECRET_MAX_BYTES];
	int			len;
	text	   *result;

	read_arguments(fcinfo, &e);
	len = read_secret(e.secret, key);
	result = cstring_to_text(emk_sign_show_secret(key, len));
	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_spi_run(&insert_plan, e.values, e.nulls, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("endpoint \"%s\" already exists", e.name),
				 errhint("Change it with eventmkt.replace_endpoint().")));
	store_secret(e.name, key, len, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	explicit_bzero(key, sizeof(key));
	PG_RETURN_TEXT_P(result);
}

PG_FUNCTION_INFO_V1(emk_deliver_replace_endpoint);
/* eventmkt.replace_endpoint(…): the secret stays unless one is given; what waits goes to the new URL */
Datum
emk_deliver_replace_endpoint(PG_FUNCTION_ARGS)
{
	Endpoint	e;
	EmkOwner	owner;
	uint8		key[EMK_SECRET_MAX_BYTES];
	int			len = 0;
	Datum		id;
	bool		was_ordered;

	read_arguments(fcinfo, &e);
	if (e.secret != NULL)
		len = read_secret(e.secret, key);
	emk_owner_enter(&owner);
	SPI_connect();
	id = Int32GetDatum(lock_endpoint(e.name));
	was_ordered = emk_spi_bool(0, 2, false);
	emk_spi_run(&update_plan, e.values, e.nulls, false, 0);
	if (e.ordered != was_ordered)
		emk_lane_switch(DatumGetInt32(id), e.ordered, emk_clock_now());
	emk_spi_run(&forget_state_plan, &id, NULL, false, 0);
	if (e.secret != NULL)
		store_secret(e.name, key, len, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	PG_RETURN_VOID();
}

static void
switch_endpoint(const char *name, bool enabled)
{
	Datum		args[3] = {CStringGetTextDatum(name), BoolGetDatum(enabled), CStringGetTextDatum("by an operator")};
	EmkOwner	owner;
	Datum		id;

	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_spi_run(&switch_plan, args, enabled ? "  n" : "   ", false, 0) == 0)
		unknown(name);
	id = Int32GetDatum(emk_spi_int4(0, 1, 0));
	if (enabled)
		emk_spi_run(&forget_state_plan, &id, NULL, false, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
}

PG_FUNCTION_INFO_V1(emk_deliver_enable_endpoint);
/* eventmkt.enable_endpoint(name) */
Datum
emk_deliver_enable_endpoint(PG_FUNCTION_ARGS)
{
	switch_endpoint(required(fcinfo, 0, "the name of an endpoint"), true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_deliver_disable_endpoint);
/* eventmkt.disable_endpoint(name) */
Datum
emk_deliver_disable_endpoint(PG_FUNCTION_ARGS)
{
	switch_endpoint(required(fcinfo, 0, "the name of an endpoint"), false);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_deliver_drop_endpoint);
/* eventmkt.drop_endpoint(name) */
Datum
emk_deliver_drop_endpoint(PG_FUNCTION_ARGS)
{
	char	   *name = required(fcinfo, 0, "the name of an endpoint");
	Datum		name_arg = CStringGetTextDatum(name);
	EmkOwner	owner;
	Datum		id;

	emk_owner_enter(&owner);
	SPI_connect();
	id = Int32GetDatum(lock_endpoint(name));
	if (emk_spi_run(&users_plan, &id, NULL, false, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("endpoint \"%s\" is still in use", name),
				 errdetail("Rule \"%s\" sends to it, or has live runs that will.", emk_spi_text(0, 1)),
				 errhint("Replace or drop the rule first; eventmkt.disable_endpoint() only holds what is to be sent.")));
	emk_outbox_cancel_endpoint(DatumGetInt32(id), emk_clock_now());
	emk_spi_run(&forget_state_plan, &id, NULL, false, 0);
	emk_spi_run(&drop_secrets_plan, &name_arg, NULL, false, 0);
	emk_spi_run(&drop_plan, &id, NULL, false, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	PG_RETURN_VOID();
}

/* A secret for an endpoint that exists; `expire` is when the ones before it end, 0 for at once. */
static text *
change_secret(const char *name, const char *given, TimestampTz expire)
{
	EmkOwner	owner;
	uint8		key[EMK_SECRET_MAX_BYTES];
	int			len = read_secret(given, key);
	text	   *result = cstring_to_text(emk_sign_show_secret(key, len));

	emk_owner_enter(&owner);
	SPI_connect();
	lock_endpoint(name);
	store_secret(name, key, len, expire);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	explicit_bzero(key, sizeof(key));
	return result;
}

PG_FUNCTION_INFO_V1(emk_deliver_set_secret);
/* eventmkt.set_secret(name, secret) → the secret */
Datum
emk_deliver_set_secret(PG_FUNCTION_ARGS)
{
	char	   *name = required(fcinfo, 0, "the name of an endpoint");

	PG_RETURN_TEXT_P(change_secret(name, PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), 0));
}

PG_FUNCTION_INFO_V1(emk_deliver_rotate_secret);
/* eventmkt.rotate_secret(name, overlap) → the new secret; the old one signs too until the overlap is over */
Datum
emk_deliver_rotate_secret(PG_FUNCTION_ARGS)
{
	char	   *name = required(fcinfo, 0, "the name of an endpoint");
	Interval   *overlap = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	TimestampTz now = emk_clock_now();
	TimestampTz expire;

	if (overlap == NULL || overlap->month < 0 || overlap->day < 0 || overlap->time < 0 || overlap->month > 12 ||
		overlap->day > 366 || overlap->time > 366 * USECS_PER_DAY)
		refuse("the overlap of two secrets lies outside zero to one year", NULL);
	expire = emk_clock_add(now, overlap);
	PG_RETURN_TEXT_P(change_secret(name, NULL, expire > now ? expire : 0));
}
