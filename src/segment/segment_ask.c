/*
 * segment_ask.c: is this profile in that segment?
 *
 * The answer comes from the view, by a prepared statement a backend and segment. Where a query of somebody's own takes part, the
 * parts are asked one by one, each such query with its author's rights, in a security-restricted operation, read only, in a
 * subtransaction, for at most eventmkt.segment_timeout; an error means no, and is told.
 *
 * Entries live until the segments change; then the whole cache is dropped at the next question.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "segment/segment_live.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

typedef struct Segment
{
	int32		segment_id;
	char	   *name;
	bool		is_query;
	bool		foreign;		/* a query of somebody's own takes part */
	char	   *author;
	int			n[3];			/* all_of, any_of, none_of */
	int32	   *ids[3];
	SPIPlanPtr	plan;			/* NULL until first asked; else owned by the plan cache */
} Segment;

static MemoryContext context = NULL;
static HTAB *segments = NULL;
static Oid	segment_oid = InvalidOid;
static bool stale = true;
static int	asking = 0;			/* questions under way, one within the other: what they have in hand stays */
static int	timeout_ms = 1000;

static EmkPlan read_plan = {
	"SELECT s.name, s.kind OPERATOR(pg_catalog.=) 'query', s.owner, s.all_of, s.any_of, s.none_of, EXISTS (WITH RECURSIVE below "
	"(id) AS (SELECT s.segment_id UNION SELECT pg_catalog.unnest(x.all_of OPERATOR(pg_catalog.||) x.any_of "
	"OPERATOR(pg_catalog.||) x.none_of) FROM below b JOIN eventmkt_data.segment x ON x.segment_id OPERATOR(pg_catalog.=) b.id) "
	"SELECT FROM below b JOIN eventmkt_data.segment x ON x.segment_id OPERATOR(pg_catalog.=) b.id "
	"WHERE x.kind OPERATOR(pg_catalog.=) 'query') FROM eventmkt_data.segment s WHERE s.segment_id OPERATOR(pg_catalog.=) $1", 1,
	{INT4OID}
};
static EmkPlan id_plan = {
	"SELECT segment_id FROM eventmkt_data.segment WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
/* somebody of whom anything is known */
static EmkPlan known_plan = {
	"SELECT 1 WHERE EXISTS (SELECT FROM eventmkt_data.profile p WHERE p.profile_id OPERATOR(pg_catalog.=) $1) "
	"OR EXISTS (SELECT FROM eventmkt_data.event e WHERE e.profile_id OPERATOR(pg_catalog.=) $1)", 1, {TEXTOID}
};

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == segment_oid)
		stale = true;
}

void
emk_segment_init(void)
{
	DefineCustomIntVariable("eventmkt.segment_timeout",
							"Time limit of asking one segment that is a query of somebody's own.",
							NULL, &timeout_ms, 1000, 1, 60000, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	emk_base_on_relcache(forget);
	emk_live_init();
}

static void
begin_cache(void)
{
	HASHCTL		ctl;

	segment_oid = emk_setting_table("segment");
	if (segments != NULL)
	{
		HASH_SEQ_STATUS seq;
		Segment    *s;

		hash_seq_init(&seq, segments);
		while ((s = hash_seq_search(&seq)) != NULL)
			if (s->plan != NULL)
				SPI_freeplan(s->plan);
		MemoryContextDelete(context);
		segments = NULL;
	}
	context = AllocSetContextCreate(TopMemoryContext, "eventmkt segments", ALLOCSET_SMALL_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(int32);
	ctl.entrysize = sizeof(Segment);
	ctl.hcxt = context;
	segments = hash_create("eventmkt segments", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

static int
read_ids(int col, int32 **ids)
{
	bool		isnull;
	Datum		d = emk_spi_datum(0, col, &isnull);
	Datum	   *elems;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(d), INT4OID, 4, true, TYPALIGN_INT, &elems, NULL, &n);
	*ids = MemoryContextAlloc(context, sizeof(int32) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*ids)[i] = DatumGetInt32(elems[i]);
	return n;
}

/* NULL when there is no such segment. What an invalidation came for while it was read is read again for the next question. */
static Segment *
look_up(int32 id)
{
	Datum		arg = Int32GetDatum(id);
	Segment    *s;
	Segment		read;
	int			tries = 0;

	do
	{
		if (segments == NULL || (stale && asking == 0))
			begin_cache();
		if ((s = hash_search(segments, &id, HASH_FIND, NULL)) != NULL)
			return s;
		if (emk_spi_run_latest(&read_plan, &arg) == 0)
			return NULL;
	} while (stale && asking == 0 && ++tries < EMK_LOAD_TRIES);
	memset(&read, 0, sizeof(read));
	read.segment_id = id;
	read.name = MemoryContextStrdup(context, emk_spi_text(0, 1));
	read.is_query = emk_spi_bool(0, 2, false);
	read.author = MemoryContextStrdup(context, emk_spi_text(0, 3));
	for (int k = 0; k < 3; k++)
		read.n[k] = read_ids(4 + k, &read.ids[k]);
	read.foreign = emk_spi_bool(0, 7, false);
	s = hash_search(segments, &id, HASH_ENTER, NULL);
	*s = read;
	return s;
}

/* A plan that reads by index whatever the statistics say. */
static SPIPlanPtr
plan_of(Segment *s)
{
	Oid			type = TEXTOID;
	SPIPlanPtr	plan;
	int			nest;

	if (s->plan != NULL)
		return s->plan;
	nest = emk_spi_pin();
	plan = SPI_prepare_cursor(psprintf("SELECT true FROM %s WHERE profile_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
									   emk_segment_view_name(s->name)), 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	AtEOXact_GUC(true, nest);
	s->plan = plan;
	return plan;
}

static bool
ask_view(Segment *s, const char *profile, bool read_only)
{
	Datum		arg = CStringGetTextDatum(profile);
	bool		found;
	int			nest;
	int			rc;

	(void) plan_of(s);
	nest = emk_spi_pin();
	rc = SPI_execute_plan(s->plan, &arg, NULL, read_only, 1);
	emk_spi_unpin(nest);
	if (rc < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	found = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);		/* a pass asks thousands of times in one connection */
	return found;
}

typedef struct Asking
{
	Segment    *segment;
	const char *profile;
	Oid			author;
	bool		result;
} Asking;

static void
run_query(void *arg)
{
	Asking	   *q = arg;

	(void) plan_of(q->segment);
	SetUserIdAndSecContext(q->author, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	PushActiveSnapshot(GetTransactionSnapshot());
	q->result = ask_view(q->segment, q->profile, true);
	PopActiveSnapshot();
	SetUserIdAndSecContext(emk_owner_oid(), SECURITY_LOCAL_USERID_CHANGE);
}

/* Asks with the author's rights; false, and the error, when the query fails. */
static bool
ask_query(Segment *s, const char *profile, char **error)
{
	Asking		q = {s, profile, get_role_oid(s->author, true), false};
	char	   *failed;

	if (!OidIsValid(q.author) || superuser_arg(q.author))
	{
		*error = psprintf("role \"%s\" %s", s->author, OidIsValid(q.author) ? "is a superuser" : "does not exist");
		return false;
	}
	failed = emk_guard_run(timeout_ms, "the query", run_query, &q);
	if (failed != NULL)
		*error = failed;
	return failed == NULL && q.result;
}

static bool ask(int32 id, const char *profile, char **error);

static bool
known(const char *profile)
{
	Datum		arg = CStringGetTextDatum(profile);

	bool		found = emk_spi_run(&known_plan, &arg, NULL, false, 1) > 0;

	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* A segment of segments among which are queries, part by part; an error anywhere means no */
static bool
ask_parts(const Segment *s, const char *profile, char **error)
{
	bool		answer = s->n[0] + s->n[1] > 0 || known(profile);
	bool		any = s->n[1] == 0;

	for (int i = 0; i < s->n[0] && answer; i++)
		answer = ask(s->ids[0][i], profile, error);
	for (int i = 0; i < s->n[1] && answer && !any; i++)
		any = ask(s->ids[1][i], profile, error);
	for (int i = 0; i < s->n[2] && answer && any; i++)
		answer = !ask(s->ids[2][i], profile, error);
	return answer && any && *error == NULL;
}

static bool
ask(int32 id, const char *profile, char **error)
{
	Segment    *s = look_up(id);
	Segment		copy;

	if (s == NULL)
	{
		*error = psprintf("segment %d does not exist", id);
		return false;
	}
	if (s->is_query)
		return ask_query(s, profile, error);
	if (!s->foreign)
		return ask_view(s, profile, false);
	copy = *s;
	for (int k = 0; k < 3; k++)
	{
		copy.ids[k] = palloc(sizeof(int32) * Max(s->n[k], 1));
		memcpy(copy.ids[k], s->ids[k], sizeof(int32) * s->n[k]);
	}
	return ask_parts(&copy, profile, error);
}

char *
emk_segment_name(int32 segment_id)
{
	Segment    *s = look_up(segment_id);

	return s ? pstrdup(s->name) : psprintf("%d", segment_id);
}

bool
emk_segment_has(int32 segment_id, const char *canonical, TimestampTz now, char **facts)
{
	StringInfoData buf;
	volatile bool in = false;
	char	   *error = NULL;
	TimestampTz before;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "segment", emk_segment_name(segment_id));
	before = emk_clock_pin(now);
	asking++;
	PG_TRY();
	{
		in = ask(segment_id, canonical, &error);
	}
	PG_FINALLY();
	{
		asking--;
		(void) emk_clock_pin(before);
	}
	PG_END_TRY();
	if (error != NULL)
	{
		appendStringInfoString(&buf, ", ");
		emk_json_append_string(&buf, "error", error);
	}
	appendStringInfoChar(&buf, '}');
	*facts = buf.data;
	return in;
}

PG_FUNCTION_INFO_V1(emk_segment_in);
/* eventmkt.in_segment(user_id, name) → bool */
Datum
emk_segment_in(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		arg = CStringGetTextDatum(name);
	EmkOwner	owner;
	char	   *facts;
	bool		in;

	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_spi_run(&id_plan, &arg, NULL, true, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_SEGMENT),
				 errmsg("segment \"%s\" does not exist", name),
				 errhint("The segments are listed in the view eventmkt_bi.segments.")));
	in = emk_segment_has(emk_spi_int4(0, 1, 0), pstrdup(emk_profile_resolve(user_id)), emk_clock_statement(), &facts);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_BOOL(in);
}
