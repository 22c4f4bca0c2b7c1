/*
 * restore.c: what expose.c and measure.c share, and their views after the extension was re-created. A definition is a row of a
 * table of eventmkt_data; its view can be made from the row at any time, so init() makes all of them anew.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "report/report_int.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static EmkPlan events_plan = {
	"SELECT DISTINCT event FROM eventmkt_data.exposed_property ORDER BY 1", 0, {0}
};
static EmkPlan funnels_plan = {
	"SELECT name FROM eventmkt_data.funnel ORDER BY 1", 0, {0}
};

char *
emk_report_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

void
emk_report_check_name(const char *value, int max, const char *what, const char *limit, const char *hint)
{
	size_t		len = value ? strlen(value) : 0;

	if (value == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what)));
	if (len == 0 || strspn(value, " ") == len)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty", what)));
	if (len > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too long for a view", what),
				 errdetail("It has %zu bytes; the limit (%s) is %d.", len, limit, max),
				 errhint("%s", hint)));
	for (const unsigned char *c = (const unsigned char *) value; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not contain control characters", what)));
}

char *
emk_report_view(const char *prefix, const char *name)
{
	return psprintf("eventmkt_bi.%s", quote_identifier(psprintf("%s%s", prefix, name)));
}

void
emk_report_refuse_taken(const char *prefix, const char *name)
{
	if (OidIsValid(get_relname_relid(psprintf("%s%s", prefix, name), get_namespace_oid("eventmkt_bi", false))))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation %s already exists", emk_report_view(prefix, name)),
				 errdetail("It was not made by eventmkt, which would replace it by a view of this name."),
				 errhint("Rename or drop it.")));
}

void
emk_report_take_view(const char *prefix, const char *name)
{
	char	   *view = psprintf("%s%s", prefix, name);

	emk_base_lock_view(get_relname_relid(view, get_namespace_oid("eventmkt_bi", false)), view);
}

void
emk_report_enter(EmkOwner *owner, const char *table)
{
	(void) emk_setting_table(table);
	emk_owner_enter(owner);
	SPI_connect();
	emk_spi_script(psprintf("LOCK TABLE eventmkt_data.%s IN SHARE ROW EXCLUSIVE MODE", table));
}

void
emk_report_leave(const EmkOwner *owner)
{
	SPI_finish();
	emk_owner_leave(owner);
}

void
emk_report_comment(const char *view, const char *column, const char *comment)
{
	emk_spi_script(psprintf("COMMENT ON %s %s%s%s IS %s", column ? "COLUMN" : "VIEW", view, column ? "." : "",
							column ? column : "", quote_literal_cstr(comment)));
}

typedef struct Missing
{
	bool		funnel;
	char	   *name;
} Missing;

static void
restore_one(void *arg)
{
	Missing    *m = arg;

	if (m->funnel)
		emk_report_make_funnel_view(m->name);
	else
		emk_report_make_event_view(m->name, false);
}

static void
restore_all(bool funnel, EmkPlan *plan)
{
	uint64		n = emk_spi_run(plan, NULL, NULL, false, 0);
	char	  **names = palloc(sizeof(char *) * (n + 1));

	for (uint64 i = 0; i < n; i++)
		names[i] = emk_spi_text(i, 1);
	for (uint64 i = 0; i < n; i++)
	{
		ErrorData  *error = emk_guard_try_on(restore_one, &(Missing) {funnel, names[i]});

		if (error != NULL)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s could not be made: %s", emk_report_view(funnel ? "funnel_" : "event_", names[i]), error->message),
					 errhint("Rename or drop what stands in its way and run SELECT eventmkt.init() again.")));
	}
}

void
emk_report_restore(void)
{
	EmkOwner	owner;

	emk_owner_enter(&owner);
	restore_all(false, &events_plan);
	restore_all(true, &funnels_plan);
	emk_owner_leave(&owner);
}
