/*
 * spi.h: saved SPI plans as static data. One EmkPlan is one statement: its text is a literal, its values are parameters.
 */
#ifndef EMK_BASE_SPI_H
#define EMK_BASE_SPI_H

#include "executor/spi.h"

#define EMK_PLAN_MAX_ARGS 24

/*
 * A statement prepared on first use and kept for the life of the backend. `argtypes` holds `nargs` type oids. Everything
 * in `sql` is schema-qualified, so search_path does not matter.
 */
typedef struct EmkPlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[EMK_PLAN_MAX_ARGS];
	SPIPlanPtr	plan;			/* NULL until first use */
} EmkPlan;

/*
 * Runs a plan inside an open SPI connection with a fresh snapshot; returns the number of rows processed, with the
 * result in SPI_tuptable. `nulls` may be NULL. Any SPI failure is an ERROR.
 */
extern uint64 emk_spi_run(EmkPlan *plan, Datum *values, const char *nulls, bool read_only, long limit);

/*
 * Reads with the latest snapshot at every isolation level: for what is cached beyond the transaction, because a row read with
 * an older one would outlive the invalidation that was processed before. In a parallel query the active snapshot must do.
 */
extern uint64 emk_spi_run_latest(EmkPlan *plan, Datum *values);

/* Saves (if need be) and returns the plan, for callers that open cursors. */
extern SPIPlanPtr emk_spi_plan(EmkPlan *plan);

/*
 * Settings for a pass of spine 2 in a session that is not ours: plans that read by index, time zone UTC. Returns the nest level
 * for unpin; an ERROR undoes it by itself.
 */
extern int	emk_spi_pin(void);
extern void emk_spi_unpin(int level);

/* One-shot helpers on the current SPI_tuptable: column `col` counts from 1. Strings are palloc'd, NULL for SQL NULL. */
extern Datum emk_spi_datum(uint64 row, int col, bool *isnull);
extern char *emk_spi_text(uint64 row, int col);
extern int64 emk_spi_int8(uint64 row, int col, int64 if_null);
extern int32 emk_spi_int4(uint64 row, int col, int32 if_null);
extern bool emk_spi_bool(uint64 row, int col, bool if_null);

/* Arrays for unnest(): built from C vectors; NULL entries of `nulls` (may be NULL itself) become SQL NULL. */
extern Datum emk_spi_array(Datum *values, bool *nulls, int n, Oid elemtype);

/* Runs a (multi-statement) script text that the extension itself owns, such as the table definitions. */
extern void emk_spi_script(const char *sql);

#endif
