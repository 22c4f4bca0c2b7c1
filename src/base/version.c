/*
 * version.c: is the installed extension of the library's version? See version.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#define UPDATE_HINT	"Run ALTER EXTENSION eventmkt UPDATE, then SELECT eventmkt.init(), as a superuser."
#define LIBRARY_HINT "Install that version's library; then restart the server where the library is preloaded, or else connect again."

/* pg_extension.extversion, palloc'd; NULL: the extension is not installed */
static char *
installed(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tup;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("eventmkt"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
	{
		bool		isnull;
		Datum		d = heap_getattr(tup, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		if (!isnull)
			version = TextDatumGetCString(d);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

static bool
is_known(const char *version)
{
	for (int i = 0; emk_version_known[i] != NULL; i++)
		if (strcmp(emk_version_known[i], version) == 0)
			return true;
	return false;
}

pg_noreturn static void refuse(const char *version);

static void
refuse(const char *version)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the library of eventmkt is of version %s, its functions in this database are of version %s", EMK_VERSION,
					version),
			 errhint("%s", is_known(version) ? UPDATE_HINT : LIBRARY_HINT)));
	pg_unreachable();
}

char *
emk_version_other(void)
{
	char	   *version = installed();

	return version != NULL && strcmp(version, EMK_VERSION) != 0 ? version : NULL;
}

void
emk_version_require(void)
{
	char	   *other = emk_version_other();

	if (other != NULL)
		refuse(other);
}

void
emk_version_check(const char *symbol)
{
	char	   *other;

	/* while scripts run, functions are made before their version is recorded; pg_upgrade makes them before the extension */
	if (creating_extension || IsBinaryUpgrade || !IsTransactionState() || (other = emk_version_other()) == NULL)
		return;
	if (!is_known(other))
		refuse(other);
	for (const EmkVersionRefused *r = emk_version_refused; r->symbol != NULL; r++)
		if (strcmp(r->symbol, symbol) == 0 && strcmp(r->version, other) == 0)
			refuse(other);
	pfree(other);
}

Datum
emk_version_gone(void)
{
	emk_version_require();
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this function is none of eventmkt %s", EMK_VERSION),
			 errhint(UPDATE_HINT)));
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(emk_base_check_library);
/* eventmkt.check_library(version text): the first statement of install and update scripts, which name their version */
Datum
emk_base_check_library(PG_FUNCTION_ARGS)
{
	char	   *wanted = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strcmp(wanted, EMK_VERSION) != 0 && !is_known(wanted))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the library of eventmkt is of version %s, this script makes the functions of version %s", EMK_VERSION,
						wanted),
				 errhint("Install that version's library; then restart the server where the library is preloaded, or else connect "
						 "again, and repeat the command.")));
	PG_RETURN_VOID();
}
