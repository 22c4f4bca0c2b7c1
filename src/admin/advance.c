/*
 * advance.c: eventmkt.advance_clock(): business time moves forward, so that a rule of days can be shown in a second. Messages
 * would go out days early, so it is refused while an enabled endpoint lies outside this machine.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include "admin/admin_int.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define MAX_OFFSET	((int64) 10 * EMK_MAX_INTERVAL_DAYS * USECS_PER_DAY)

static bool allow_remote = false;

static EmkPlan endpoints_plan = {
	"SELECT name, url FROM eventmkt_data.endpoint WHERE enabled ORDER BY name", 0, {0}
};
static EmkPlan move_plan = {
	"INSERT INTO eventmkt_data.setting AS s (key, value, updated_at) VALUES ('clock_offset', $1::pg_catalog.text, $2) "
	"ON CONFLICT (key) DO UPDATE SET updated_at = EXCLUDED.updated_at, "
	"value = (s.value::pg_catalog.int8 OPERATOR(pg_catalog.+) $1)::pg_catalog.text RETURNING value::pg_catalog.int8",
	2, {INT8OID, TIMESTAMPTZOID}
};

/* reports measure delays from the latest move, see eventmkt_bi.latency */
static EmkPlan log_plan = {
	"INSERT INTO eventmkt_data.clock_move (reached) VALUES ($1) ON CONFLICT DO NOTHING", 1, {TIMESTAMPTZOID}
};

void
emk_admin_init_advance(void)
{
	DefineCustomBoolVariable("eventmkt.allow_clock_with_remote_endpoints",
							 "Lets advance_clock() move the clock while an endpoint lies outside this machine.",
							 NULL, &allow_remote, false, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Is the host of the URL this machine? A name other than localhost is not, wherever it points. */
static bool
is_loopback(const char *url)
{
	CURLU	   *u = curl_url();
	char	   *host = NULL;
	bool		local = false;

	if (u != NULL && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && host != NULL)
	{
		struct in_addr a;

		local = pg_strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
			(inet_pton(AF_INET, host, &a) == 1 && (ntohl(a.s_addr) >> 24) == 127);
	}
	curl_free(host);
	curl_url_cleanup(u);
	return local;
}

static void
refuse_remote_endpoints(void)
{
	uint64		n;

	if (allow_remote)
		return;
	n = emk_spi_run(&endpoints_plan, NULL, NULL, false, 0);
	for (uint64 i = 0; i < n; i++)
		if (!is_loopback(emk_spi_text(i, 2)))
			ereport(ERROR,
					(errcode(ERRCODE_EMK_CLOCK_REFUSED),
					 errmsg("the clock cannot be moved while endpoint \"%s\" lies outside this machine", emk_spi_text(i, 1)),
					 errdetail("Messages that are due later would be sent to it now."),
					 errhint("Disable the endpoint. A superuser may set eventmkt.allow_clock_with_remote_endpoints.")));
}

PG_FUNCTION_INFO_V1(emk_admin_advance_clock);
/* eventmkt.advance_clock(by interval): the clock after the move; days have 24 hours, months are those of UTC */
Datum
emk_admin_advance_clock(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"by"});
	EmkOwner	saved;
	TimestampTz now = emk_clock_now();
	const Interval *iv = PG_GETARG_INTERVAL_P(0);
	double		days = (double) iv->month * DAYS_PER_MONTH + iv->day + (double) iv->time / USECS_PER_DAY;
	int64		most = EMK_MAX_INTERVAL_DAYS * USECS_PER_DAY;
	/* what is absurd is not added: the sum may lie beyond all times */
	int64		by = days < -EMK_MAX_INTERVAL_DAYS ? -1 : days > 2 * EMK_MAX_INTERVAL_DAYS ? most + 1 : emk_clock_add(now, iv) - now;
	Datum		args[2] = {Int64GetDatum(by), TimestampTzGetDatum(emk_clock_real())};

	if (by < 0 || by > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(by < 0 ? "the clock never moves backward" : "the clock moves at most %d days at once",
						EMK_MAX_INTERVAL_DAYS),
				 errhint("Give an interval between 0 and %d days.", EMK_MAX_INTERVAL_DAYS)));
	if (!emk_setting_is_home())
		ereport(ERROR,
				(errcode(ERRCODE_EMK_NOT_ADOPTED),
				 errmsg("the clock cannot be moved in a copy of a database"),
				 errhint("Call eventmkt.adopt() first.")));
	emk_owner_enter(&saved);
	SPI_connect();
	refuse_remote_endpoints();
	emk_spi_run(&move_plan, args, NULL, false, 0);
	if (emk_spi_int8(0, 1, 0) > MAX_OFFSET)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the clock cannot be more than %d days ahead", 10 * EMK_MAX_INTERVAL_DAYS)));
	emk_setting_put("clock_advanced_at", timestamptz_to_str(emk_clock_real()));
	args[0] = TimestampTzGetDatum(emk_clock_now());
	emk_spi_run(&log_plan, args, NULL, false, 0);
	SPI_finish();
	emk_owner_leave(&saved);
	emk_wake_at_commit();
	PG_RETURN_TIMESTAMPTZ(emk_clock_now());
}
