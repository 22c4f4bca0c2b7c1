/*
 * tune.c: eventmkt.change_setting(key, value): the rows of eventmkt_data.setting that an operator may choose.
 *
 * A key has a check that raises what is wrong with a value. The identity of the database, the clock and what the workers leave
 * in the same table are not to be chosen.
 */
#include "postgres.h"

#include "admin/admin_int.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define LAST_NODE 1023
#define MAX_RETENTION_DAYS 36600

typedef struct Tunable
{
	const char *key;
	char	   *(*check) (const char *key, const char *value);	/* the value as it is stored; NULL value: the default is wanted */
} Tunable;

/* rules of which a second message could come too early once deliveries are forgotten */
static EmkPlan reentry_plan = {
	"SELECT r.name FROM eventmkt_data.rule r WHERE r.current AND r.reentry OPERATOR(pg_catalog.>) $1 "
	"ORDER BY r.reentry DESC, r.name LIMIT 1", 1, {INTERVALOID}
};
static EmkPlan busy_plan = {
	"SELECT EXISTS (SELECT FROM eventmkt_data.work WHERE node OPERATOR(pg_catalog.=) $1) "
	"OR EXISTS (SELECT FROM eventmkt_data.pending_trigger WHERE node OPERATOR(pg_catalog.=) $1) "
	"OR EXISTS (SELECT FROM eventmkt_data.delivery WHERE node OPERATOR(pg_catalog.=) $1 "
	"AND status OPERATOR(pg_catalog.=) ANY ('{queued,in_flight,retrying}'))", 1, {INT2OID}
};

static void
refuse(const char *key, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no value for setting \"%s\"", value, key),
			 errhint("%s", hint)));
}

static char *
check_period(const char *key, const char *value)
{
	if (value == NULL)
		return NULL;
	if (strcmp(value, "day") != 0 && strcmp(value, "week") != 0)
		refuse(key, value, "The periods are day and week.");
	return pstrdup(value);
}

/* An interval of one day to `most` days; ERROR 22007 when it is none */
static Interval *
read_days(const char *key, const char *value, int most)
{
	Interval   *iv = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value),
														   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	double		days = iv->month * 30.0 + iv->day + iv->time / (double) USECS_PER_DAY;

	if (days < 1 || days > most)
		refuse(key, value, psprintf("It is an interval from 1 day to %d days.", most));
	return iv;
}

static char *
check_retention(const char *key, const char *value)
{
	Interval   *iv;
	Datum		arg;

	if (value == NULL)
		return NULL;
	iv = read_days(key, value, MAX_RETENTION_DAYS);
	arg = IntervalPGetDatum(iv);
	if (emk_spi_run(&reentry_plan, &arg, NULL, true, 1) > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the re-entry of rule \"%s\" is longer than the retention", emk_spi_text(0, 1)),
				 errdetail("Deliveries are forgotten before it is over, and then no longer hold the rule back.")));
	return DatumGetCString(DirectFunctionCall1(interval_out, arg));
}

static char *
check_window(const char *key, const char *value)
{
	if (value == NULL)
		return NULL;
	return DatumGetCString(DirectFunctionCall1(interval_out,
											   IntervalPGetDatum(read_days(key, value, EMK_MAX_INTERVAL_DAYS))));
}

static char *
check_burst(const char *key, const char *value)
{
	char	   *end = NULL;
	long		n = value ? strtol(value, &end, 10) : 0;

	if (value == NULL)
		return NULL;
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || n < 1 || n > EMK_MAX_PROFILE_BURST)
		refuse(key, value, psprintf("It is a number from 1 to %d.", EMK_MAX_PROFILE_BURST));
	return psprintf("%ld", n);
}

static char *
check_node(const char *key, const char *value)
{
	char	   *end = NULL;
	long		node = value ? strtol(value, &end, 10) : 0;
	Datum		now = Int16GetDatum(emk_setting_node());

	if (value && (value[0] < '0' || value[0] > '9' || *end != '\0' || node > LAST_NODE))
		refuse(key, value, "It is a number from 0 to 1023.");
	if (node == emk_setting_node())
		return value ? psprintf("%ld", node) : NULL;
	emk_spi_run(&busy_plan, &now, NULL, true, 0);
	if (emk_spi_bool(0, 1, true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the node cannot be changed while work, runs or deliveries wait for node %d", emk_setting_node()),
				 errhint("Nobody would take them up. Set it before the first event.")));
	return value ? psprintf("%ld", node) : NULL;
}

static const Tunable tunables[] = {
	{"partition_period", check_period},
	{"retention", check_retention},
	{"dedupe_window", check_window},
	{"profile_burst", check_burst},
	{"node", check_node}
};

PG_FUNCTION_INFO_V1(emk_admin_change_setting);
/* eventmkt.change_setting(key text, value text): NULL value puts the default back */
Datum
emk_admin_change_setting(PG_FUNCTION_ARGS)
{
	char	   *key;
	const Tunable *t = NULL;
	EmkOwner	owner;
	char	   *value;
	int			nest;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the key of a setting must not be null")));
	key = text_to_cstring(PG_GETARG_TEXT_PP(0));
	value = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (int i = 0; i < lengthof(tunables); i++)
		if (strcmp(tunables[i].key, key) == 0)
			t = &tunables[i];
	if (t == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no setting that can be changed here", key),
				 errhint("There are partition_period, retention, dedupe_window, profile_burst and node; what begins with "
						 "\"eventmkt.\" is set in postgresql.conf or by ALTER SYSTEM.")));
	nest = emk_admin_pin();
	emk_admin_pin_setting("client_min_messages", "notice");
	emk_owner_enter(&owner);
	SPI_connect();
	value = t->check(key, value);
	emk_setting_put(key, value);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_admin_unpin(nest);
	PG_RETURN_VOID();
}
