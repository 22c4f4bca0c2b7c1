/*
 * spi.c: saved SPI plans and small accessors. Plans live in the plan cache for the life of the backend; results live in
 * the SPI procedure context of the caller.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

SPIPlanPtr
emk_spi_plan(EmkPlan *plan)
{
	if (plan->plan == NULL)
	{
		/* generic: planned once, and the same whatever the values are */
		SPIPlanPtr	p = SPI_prepare_cursor(plan->sql, plan->nargs, plan->argtypes, CURSOR_OPT_GENERIC_PLAN);

		if (p == NULL)
			elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(p);
		plan->plan = p;
	}
	return plan->plan;
}

uint64
emk_spi_run(EmkPlan *plan, Datum *values, const char *nulls, bool read_only, long limit)
{
	int			rc = SPI_execute_plan(emk_spi_plan(plan), values, nulls, read_only, limit);

	if (rc < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

uint64
emk_spi_run_latest(EmkPlan *plan, Datum *values)
{
	uint64		n;

	if (IsInParallelMode())
		return emk_spi_run(plan, values, NULL, true, 0);
	PushActiveSnapshot(GetLatestSnapshot());
	n = emk_spi_run(plan, values, NULL, true, 0);
	PopActiveSnapshot();
	return n;
}

/*
 * Every statement of ours reads by index, and a plan made while a table was small must not stay a scan when it has grown.
 */
int
emk_spi_pin(void)
{
	static const char *const off[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
emk_spi_unpin(int level)
{
	AtEOXact_GUC(true, level);
}

Datum
emk_spi_datum(uint64 row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, isnull);
}

char *
emk_spi_text(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? NULL : TextDatumGetCString(d);
}

int64
emk_spi_int8(uint64 row, int col, int64 if_null)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? if_null : DatumGetInt64(d);
}

int32
emk_spi_int4(uint64 row, int col, int32 if_null)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? if_null : DatumGetInt32(d);
}

bool
emk_spi_bool(uint64 row, int col, bool if_null)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? if_null : DatumGetBool(d);
}

Datum
emk_spi_array(Datum *values, bool *nulls, int n, Oid elemtype)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			dims[1] = {n};
	int			lbs[1] = {1};

	if (n == 0)
		return PointerGetDatum(construct_empty_array(elemtype));
	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, elemtype, typlen, typbyval, typalign));
}

void
emk_spi_script(const char *sql)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "could not run script: %s", SPI_result_code_string(rc));
}
