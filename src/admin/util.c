/*
 * util.c: what the administrative functions share: the superuser check, a pinned session, statements, result rows.
 */
#include "postgres.h"

#include "admin/admin.h"
#include "admin/admin_int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

void
emk_admin_init(void)
{
	emk_admin_init_advance();
	emk_admin_init_erase();
	MarkGUCPrefixReserved("eventmkt");	/* the last layer: every setting is defined by now */
}

void
emk_admin_require_superuser(const char *what)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", what),
				 errdetail("Only a superuser may call it."),
				 errhint("Run it as a superuser, once a database.")));
}

void
emk_admin_pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

int
emk_admin_pin(void)
{
	int			nest = NewGUCNestLevel();

	emk_admin_pin_setting("search_path", "pg_catalog, pg_temp");
	emk_admin_pin_setting("client_min_messages", "warning");
	emk_admin_pin_setting("standard_conforming_strings", "on");
	emk_admin_pin_setting("intervalstyle", "postgres");
	if (LockTimeout == 0)
		emk_admin_pin_setting("lock_timeout", "5s");
	return nest;
}

void
emk_admin_unpin(int nestlevel)
{
	AtEOXact_GUC(true, nestlevel);
}

void
emk_admin_run(const char *fmt, ...)
{
	StringInfoData buf;
	va_list		args;

	initStringInfo(&buf);
	for (;;)
	{
		int			need;

		va_start(args, fmt);
		need = appendStringInfoVA(&buf, fmt, args);
		va_end(args);
		if (need == 0)
			break;
		enlargeStringInfo(&buf, need);
	}
	emk_spi_script(buf.data);
	pfree(buf.data);
}

void
emk_admin_row(ReturnSetInfo *rsinfo, int ncols, const char *const *cols)
{
	Datum		values[8];
	bool		nulls[8];

	Assert(ncols <= lengthof(values));
	for (int i = 0; i < ncols; i++)
	{
		nulls[i] = cols[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(cols[i]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
