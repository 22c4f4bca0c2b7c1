/*
 * alias.c: ids that may merge and ids that may not, the lock of a profile, and all ids of a profile.
 *
 * The lock of a profile is the lock of its row: whoever merges it or writes its traits holds it until the transaction ends.
 * Rules
 * 1. Several rows are locked in the order of their canonical ids, so two callers never wait for each other in a circle.
 * 2. Under the lock the ids are resolved again with the latest snapshot. When a merge came between, the locks are useless
 *    and the round is repeated; under REPEATABLE READ the transaction could not see that merge and fails with 40001.
 * 3. track() takes none of these locks.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "profile/profile_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static EmkPlan lock_plan = {
	"SELECT 1 FROM eventmkt_data.profile p WHERE p.profile_id OPERATOR(pg_catalog.=) $1 FOR UPDATE", 1, {TEXTOID}
};
static EmkPlan make_plan = {
	"INSERT INTO eventmkt_data.profile (profile_id, created_at, updated_at) VALUES ($1, $2, $2) "
	"ON CONFLICT (profile_id) DO NOTHING", 2, {TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan resolve_plan = {
	"SELECT u.n, a.profile_id FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) (u.id COLLATE \"C\")", 1, {TEXTARRAYOID}
};
static EmkPlan ids_plan = {
	"SELECT u.n, a.alias FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, n) "
	"JOIN eventmkt_data.alias a ON a.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
	"ORDER BY u.n, a.alias", 1, {TEXTARRAYOID}
};

/* What clients send as an id when they have none. Compared in lower case, without blanks around. */
static const char *const blocked_ids[] = {
	"", "null", "(null)", "<null>", "nil", "none", "undefined", "nan", "n/a", "na", "n.a.", "-", "?", "unknown",
	"(not set)", "not set", "not_set", "empty", "anonymous", "anon", "anonymous_user", "guest", "visitor", "user", "user_id",
	"userid", "id", "distinct_id", "anonymous_id", "anonymousid", "uuid", "email", "test", "default", "true", "false", "-1",
	"[object object]", "{}", "[]", "\"\"", "''", "not_authenticated", "unauthenticated", "logged_out", "signed_out",
	"unidentified", "ffffffff-ffff-ffff-ffff-ffffffffffff", NULL
};

void
emk_profile_init(void)
{
	emk_profile_init_resolve();
	emk_profile_init_erased();
}

void
emk_profile_check_id(const char *id, const char *what)
{
	if (id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is empty", what),
				 errhint("Pass NULL when there is none.")));
	if (strlen(id) > EMK_MAX_ID_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is longer than %d bytes (EMK_MAX_ID_BYTES)", what, EMK_MAX_ID_BYTES),
				 errhint("Give a shorter one.")));
}

bool
emk_profile_is_blocked(const char *id)
{
	char		low[EMK_MAX_ID_BYTES + 1];
	size_t		len;

	id += strspn(id, " \t\r\n");
	len = strlen(id);
	while (len > 0 && strchr(" \t\r\n", id[len - 1]) != NULL)
		len--;
	if (len > EMK_MAX_ID_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		low[i] = pg_ascii_tolower((unsigned char) id[i]);
	low[len] = '\0';
	if (len > 0 && strspn(low, "0-") == len)	/* 0, 000, 00000000-0000-0000-0000-000000000000, - */
		return true;
	for (int i = 0; blocked_ids[i] != NULL; i++)
		if (strcmp(low, blocked_ids[i]) == 0)
			return true;
	return false;
}

bool
emk_profile_lock_row(const char *id)
{
	Datum		args[2] = {CStringGetTextDatum(id), TimestampTzGetDatum(emk_clock_now())};

	while (emk_spi_run(&lock_plan, args, NULL, false, 0) == 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (emk_spi_run(&make_plan, args, NULL, false, 0) > 0)
			return true;		/* a row of our own is locked */
	}
	return false;
}

/* As emk_profile_resolve_many, but from the table and nothing older than now. Inside SPI. */
static void
resolve_latest(const char **ids, const char **out, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * n);
	Datum		arg;

	for (int i = 0; i < n; i++)
	{
		datums[i] = CStringGetTextDatum(ids[i]);
		out[i] = ids[i];
	}
	arg = emk_spi_array(datums, NULL, n, TEXTOID);
	emk_spi_run_latest(&resolve_plan, &arg);
	for (uint64 row = 0; row < SPI_processed; row++)
		out[emk_spi_int8(row, 1, 0) - 1] = emk_spi_text(row, 2);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* One round: locks the rows of what `ids` resolve to; false when a merge came between. Inside SPI. */
static bool
lock_round(const char **ids, const char **canonical, int n)
{
	const char **sorted = palloc(sizeof(char *) * n);
	const char **now = palloc(sizeof(char *) * n);
	bool	   *made = palloc0(sizeof(bool) * n);
	bool		same = true;

	resolve_latest(ids, canonical, n);
	memcpy(sorted, canonical, sizeof(char *) * n);
	qsort(sorted, n, sizeof(char *), compare_ids);
	for (int i = 0; i < n; i++)
		if (i == 0 || strcmp(sorted[i], sorted[i - 1]) != 0)
			made[i] = emk_profile_lock_row(sorted[i]);
	resolve_latest(ids, now, n);
	for (int i = 0; i < n && same; i++)
		same = strcmp(canonical[i], now[i]) == 0;
	for (int i = 0; i < n && !same; i++)
		if (made[i])
			emk_profile_delete_row(sorted[i]);
	return same;
}

void
emk_profile_lock(const char **ids, const char **canonical, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;

	SPI_connect();
	while (!lock_round(ids, canonical, n))
	{
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to a concurrent merge of profiles")));
		CHECK_FOR_INTERRUPTS();
	}
	old = MemoryContextSwitchTo(caller);
	for (int i = 0; i < n; i++)
		canonical[i] = canonical[i] == ids[i] ? ids[i] : pstrdup(canonical[i]);
	MemoryContextSwitchTo(old);
	SPI_finish();
}

void
emk_profile_ids(char **canonical, int n, EmkIds *out)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Datum	   *datums = palloc(sizeof(Datum) * n);
	Datum		arg;
	uint64		row = 0;

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(canonical[i]);
	arg = emk_spi_array(datums, NULL, n, TEXTOID);
	SPI_connect();
	emk_spi_run(&ids_plan, &arg, NULL, false, 0);
	old = MemoryContextSwitchTo(caller);
	for (int i = 0; i < n; i++)
	{
		uint64		first = row;

		while (row < SPI_processed && emk_spi_int8(row, 1, 0) == i + 1)
			row++;
		out[i].n = 1 + (int) (row - first);
		out[i].ids = palloc(sizeof(char *) * out[i].n);
		out[i].ids[0] = pstrdup(canonical[i]);
		for (int k = 1; k < out[i].n; k++)
			out[i].ids[k] = emk_spi_text(first + k - 1, 2);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
}
