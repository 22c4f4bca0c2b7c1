/*
 * tail_view.c: what the view eventmkt_bi.profile_timelines is made of. It is the packed rows, each with what its profile did since
 * they were packed, and the profiles that have no packed row:
 *
 *   SELECT profile_id, t FROM (
 *     SELECT profile_id, with_tail(t, profile_id, (SELECT open_tail())) AS t,
 *       CASE WHEN (SELECT tail_shows_all(open_tail())) THEN t IS NOT NULL ELSE with_tail(…) IS NOT NULL END AS shown
 *     FROM profile_timeline
 *     UNION ALL SELECT profile_id, t, true FROM tail_rows((SELECT open_tail()))) WHERE shown
 *
 * This form the planner takes apart: the packed rows are scanned in parallel, a question is asked, counted and grouped where they are
 * read, nothing is joined, and open_tail() gathers once (afterwards it answers with what the first has made). It does so only while
 * neither part has a WHERE: a part that has one is planned by itself, owns its (SELECT …), and is then parallel alone at best: each row
 * that passes goes through the leader. with_tail() is asked wherever a question names t, so it does next to nothing for who did nothing
 * lately; that nobody is hidden, as nearly always, is known before the first row.
 *
 *   open_tail()   gathers the events from packed_to on into a map by profile. A profile with a mark, or that was merged since, is
 *                 hidden: neither its packed row nor its tail counts.
 *   with_tail()   the packed timeline and the tail of one profile as one value (analytics/timeline_join.c: nothing is copied); NULL when
 *                 it is hidden
 *   tail_rows()   profiles that have a tail and no packed row, and the hidden ones from the event table
 *
 * When nothing is packed yet, or the tail is too big to be held, or too many profiles are hidden, or there is no shared memory for
 * the map, it says `whole`: all packed rows are hidden, and tail_rows() answers everything by joins that can spill to disk.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "report/tail_ref.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_HIDDEN		20000	/* profiles; beyond, one query over all is cheaper than one for them */
#define ROWS_A_FETCH	500

#define PACKED(e, key, value) \
	"eventmkt.timeline(" e ".occurred_at, " e ".name, eventmkt.timeline_key(" e ".properties, " key "), " \
	"eventmkt.timeline_value(" e ".properties, " value "))"

static const char aliases_sql[] =
"SELECT a.alias, a.profile_id FROM pg_catalog.unnest($1) i(id) JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) i.id";
static const char marks_sql[] =
"SELECT DISTINCT l.profile_id, COALESCE(a.profile_id, l.profile_id) FROM eventmkt_data.late_event l "
"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) l.profile_id WHERE l.occurred_at OPERATOR(pg_catalog.<) $1";
/* $1 hidden profiles, of which those with an alias of theirs have no events any more */
static const char hidden_sql[] =
"SELECT m.c, " PACKED("e", "$2", "$3") " FROM (SELECT i.id AS c, i.id FROM pg_catalog.unnest($1) i(id) WHERE NOT EXISTS ("
"SELECT FROM eventmkt_data.alias a WHERE a.alias OPERATOR(pg_catalog.=) i.id) UNION ALL SELECT a.profile_id, a.alias "
"FROM pg_catalog.unnest($1) i(id) JOIN eventmkt_data.alias a ON a.profile_id OPERATOR(pg_catalog.=) i.id) m "
"JOIN eventmkt_data.event e ON e.profile_id OPERATOR(pg_catalog.=) m.id GROUP BY m.c";
/* everything: packed rows without a mark, the tail, and the old events of marked profiles */
static const char whole_sql[] =
"WITH mark AS MATERIALIZED (SELECT DISTINCT l.profile_id AS id, COALESCE(a.profile_id, l.profile_id) AS c "
"FROM eventmkt_data.late_event l LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) l.profile_id "
"WHERE l.occurred_at OPERATOR(pg_catalog.<) $1), "
"hidden AS MATERIALIZED (SELECT id FROM mark UNION SELECT c FROM mark) "
"SELECT p.c, eventmkt.merge(p.t) FROM ("
"SELECT t.profile_id AS c, t.t FROM eventmkt_data.profile_timeline t WHERE NOT EXISTS (SELECT FROM hidden h "
"WHERE h.id OPERATOR(pg_catalog.=) t.profile_id) "
"UNION ALL SELECT COALESCE(a.profile_id, e.profile_id), e.t FROM (SELECT e.profile_id, " PACKED("e", "$2", "$3") " AS t "
"FROM eventmkt_data.event e WHERE e.occurred_at OPERATOR(pg_catalog.>=) $1 GROUP BY e.profile_id) e "
"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) e.profile_id "
"UNION ALL SELECT m.c, " PACKED("e", "$2", "$3") " FROM (SELECT c, c AS id FROM mark UNION SELECT a.profile_id, a.alias "
"FROM mark m JOIN eventmkt_data.alias a ON a.profile_id OPERATOR(pg_catalog.=) m.c) m "
"JOIN eventmkt_data.event e ON e.profile_id OPERATOR(pg_catalog.=) m.id "
"WHERE e.occurred_at OPERATOR(pg_catalog.<) $1 GROUP BY m.c) p GROUP BY p.c";

/* How far timelines are packed, and the properties they are made from */
typedef struct State
{
	Datum		args[3];		/* packed_to, key_property, value_property: as parameters of the statements above */
	char		nulls[4];
	bool		kept;			/* and something is packed */
} State;

/* Plans for the values at hand: whether a scan is worth several processes depends on them. */
static uint64
run(const char *sql, int nargs, const Oid *types, Datum *args, const char *nulls)
{
	int			rc = SPI_execute_with_args(sql, nargs, unconstify(Oid *, types), args, nulls, true, 0);

	if (rc < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

static const Oid state_types[3] = {TIMESTAMPTZOID, TEXTOID, TEXTOID};
static const Oid ids_types[3] = {TEXTARRAYOID, TEXTOID, TEXTOID};

static void
read_state(State *s)
{
	static const char *const columns[] = {"packed_to", "key_property", "value_property"};
	bool		isnull[3];

	*s = (State) {.args = {TimestampTzGetDatum(DT_NOBEGIN)}, .nulls = " nn", .kept = false};
	if (!emk_tail_first_row("timeline_state", lengthof(columns), columns, s->args, isnull))
		return;
	for (int i = 0; i < lengthof(columns); i++)
		s->nulls[i] = isnull[i] ? 'n' : ' ';
	s->kept = !TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(s->args[0]));
}

/* Adds the ids of the first two columns of the answer. */
static void
hide(EmkTail *t, uint64 row, int col)
{
	bool		isnull;
	text	   *id = DatumGetTextPP(emk_spi_datum(row, col, &isnull));
	uint32		profile = emk_tail_profile(t, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));

	if (profile != PG_UINT32_MAX)
		t->profiles.items[profile].flags |= EMK_TAIL_HIDDEN;
}

/* The id of the i-th profile of these, with its length and flags */
typedef const char *(*GetId) (const void *profiles, uint32 i, int *len, int *flags);

static const char *
gathered_id(const void *profiles, uint32 i, int *len, int *flags)
{
	const EmkTail *t = profiles;

	*len = t->profiles.items[i].len;
	*flags = t->profiles.items[i].flags;
	return t->texts.p + t->profiles.items[i].offset;
}

static const char *
finished_id(const void *profiles, uint32 i, int *len, int *flags)
{
	const EmkTailPerson *p = &emk_tail_persons(profiles)[i];

	*len = p->len;
	*flags = p->flags;
	return emk_tail_id(profiles, p);
}

/* The ids of those with these flags, as text[]; *n of them */
static Datum
ids_of(const void *profiles, uint32 nprofiles, GetId get, int wanted, uint32 *n)
{
	Datum	   *ids = palloc_extended(Max(nprofiles, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);

	*n = 0;
	for (uint32 i = 0; i < nprofiles; i++)
	{
		int			len;
		int			flags;
		const char *id = get(profiles, i, &len, &flags);

		if (flags == wanted)
			ids[(*n)++] = PointerGetDatum(cstring_to_text_with_len(id, len));
	}
	return emk_spi_array(ids, NULL, *n, TEXTOID);
}

/*
 * Events that were written under an id that was merged since go to the profile it belongs to. The map from here on is by
 * canonical id.
 */
static void
resolve(EmkTail *t)
{
	uint32		n;
	Datum		arg;
	uint64		found;
	uint32	   *to;

	if (t->profiles.n == 0 || !emk_tail_first_row("alias", 0, NULL, NULL, NULL))
		return;
	arg = ids_of(t, t->profiles.n, gathered_id, 0, &n);
	found = run(aliases_sql, 1, ids_types, &arg, NULL);
	if (found == 0)
		return;
	to = palloc_extended((t->profiles.n + found) * sizeof(uint32), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < t->profiles.n; i++)
		to[i] = i;
	for (uint64 i = 0; i < found; i++)
	{
		bool		isnull;
		text	   *from = DatumGetTextPP(emk_spi_datum(i, 1, &isnull));
		text	   *into = DatumGetTextPP(emk_spi_datum(i, 2, &isnull));
		uint32		f = emk_tail_profile(t, VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from));
		uint32		before = t->profiles.n;
		uint32		c = emk_tail_profile(t, VARDATA_ANY(into), VARSIZE_ANY_EXHDR(into));

		if (t->too_big)
			return;
		if (c == before)
			to[c] = c;
		to[f] = c;
	}
	for (uint32 i = 0; i < t->nevents; i++)
		t->events[i].profile = to[t->events[i].profile];
}

static const text *
name_of(const State *s, int arg)
{
	return s->nulls[arg] == 'n' ? NULL : DatumGetTextPP(s->args[arg]);
}

/* Hides the profiles with a mark; false when they are too many. */
static bool
hide_marked(EmkTail *t, State *state)
{
	uint64		n;

	if (!emk_tail_first_row("late_event", 0, NULL, NULL, NULL))
		return true;
	n = run(marks_sql, 1, state_types, state->args, NULL);
	for (uint64 i = 0; i < n && n <= MAX_HIDDEN && !t->too_big; i++)
	{
		hide(t, i, 1);
		hide(t, i, 2);
	}
	return n <= MAX_HIDDEN;
}

static EmkTailRef *
gather(MemoryContext user, MemoryContext result)
{
	State		state;
	EmkTail    *t = emk_tail_start(CurrentMemoryContext);
	EmkTailPages *pages = NULL;
	bool		whole = true;

	read_state(&state);
	if (state.kept)
		pages = emk_tail_pages(DatumGetTimestampTz(state.args[0]));
	if (pages)
	{
		emk_tail_read_together(t, pages, name_of(&state, 1), name_of(&state, 2));
		if (!t->too_big)
			resolve(t);
		whole = t->too_big || !hide_marked(t, &state);
	}
	MemoryContextSwitchTo(result);
	return emk_tail_keep(t, whole || t->too_big, user);
}

/* ---- open_tail(): once a statement ---- */

static uint64 last_number;		/* of the map that was made last, and the snapshot it was read in */
static Snapshot last_snapshot;
static CommandId last_command;

PG_FUNCTION_INFO_V1(emk_report_open_tail);
/* open_tail(): the map of this statement's snapshot */
Datum
emk_report_open_tail(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	MemoryContext user = fcinfo->flinfo->fn_mcxt;
	MemoryContext caller = CurrentMemoryContext;
	EmkTailRef *ref = NULL;
	EmkOwner	owner;

	if (last_number != 0 && last_snapshot == snapshot && last_command == snapshot->curcid)
		ref = emk_tail_refer(last_number, user);
	if (ref)
		PG_RETURN_POINTER(ref);
	emk_owner_enter(&owner);
	SPI_connect();
	ref = gather(user, caller);
	SPI_finish();
	emk_owner_leave(&owner);
	MemoryContextSwitchTo(caller);
	last_number = ref->number;
	last_snapshot = snapshot;
	last_command = snapshot->curcid;
	PG_RETURN_POINTER(ref);
}

/* ---- with_tail() ---- */

PG_FUNCTION_INFO_V1(emk_report_with_tail);
/* with_tail(timeline, profile_id, tail) */
Datum
emk_report_with_tail(PG_FUNCTION_ARGS)
{
	const EmkTailMap *m = emk_tail_map(PG_GETARG_DATUM(2));
	text	   *id = PG_GETARG_TEXT_PP(1);
	const EmkTailPerson *p;
	EmkLoose	loose;

	if (m->whole)
		PG_RETURN_NULL();
	p = emk_tail_find(m, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	if (p == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (p->flags & EMK_TAIL_HIDDEN)
		PG_RETURN_NULL();
	emk_tail_loose(m, p, &loose);
	PG_RETURN_DATUM(emk_analytics_join(PG_GETARG_VARLENA_PP(0), &loose));
}

PG_FUNCTION_INFO_V1(emk_report_tail_shows_all);
/* tail_shows_all(tail): with_tail() is never NULL */
Datum
emk_report_tail_shows_all(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(emk_tail_map(PG_GETARG_DATUM(0))->shows_all);
}

/* ---- tail_rows() ---- */

static void
put_row(ReturnSetInfo *rsinfo, Datum id, Datum timeline)
{
	Datum		v[2] = {id, timeline};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, nulls);
}

/* All rows of a statement of two columns */
static void
put_rows(ReturnSetInfo *rsinfo, const char *sql, const Oid *types, Datum *args, const char *nulls)
{
	Portal		portal = SPI_cursor_open_with_args(NULL, sql, 3, unconstify(Oid *, types), args, nulls, true, 0);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, ROWS_A_FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		id_null;
			bool		t_null;
			Datum		id = emk_spi_datum(i, 1, &id_null);
			Datum		timeline = emk_spi_datum(i, 2, &t_null);

			if (!id_null && !t_null)
				put_row(rsinfo, id, timeline);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
}

/* Profiles that have a tail and no packed row */
static void
put_unpacked(ReturnSetInfo *rsinfo, const EmkTailMap *m)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventmkt tail rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	uint32		n;
	uint32	   *places = emk_tail_unpacked(m, &n);

	before = MemoryContextSwitchTo(work);
	for (uint32 i = 0; i < n; i++)
	{
		const EmkTailPerson *p = &emk_tail_persons(m)[places[i]];
		EmkTimelineBuilder *b = emk_analytics_start_timeline();
		EmkLoose	loose;

		CHECK_FOR_INTERRUPTS();
		emk_tail_loose(m, p, &loose);
		emk_analytics_add_loose(b, &loose);
		put_row(rsinfo, PointerGetDatum(cstring_to_text_with_len(emk_tail_id(m, p), p->len)),
				PointerGetDatum(emk_analytics_finish_timeline(b)));
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(before);
}

PG_FUNCTION_INFO_V1(emk_report_tail_rows);
/* tail_rows(tail): rows (profile_id, timeline) that with_tail() does not answer */
Datum
emk_report_tail_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const EmkTailMap *m = emk_tail_map(PG_GETARG_DATUM(0));
	EmkOwner	owner;
	State		state;

	InitMaterializedSRF(fcinfo, 0);
	emk_owner_enter(&owner);
	SPI_connect();
	read_state(&state);
	if (m->whole)
		put_rows(rsinfo, whole_sql, state_types, state.args, state.nulls);
	else
	{
		uint32		n;

		put_unpacked(rsinfo, m);
		state.args[0] = ids_of(m, m->npersons, finished_id, EMK_TAIL_HIDDEN, &n);
		if (n > 0)
			put_rows(rsinfo, hidden_sql, ids_types, state.args, state.nulls);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

/* ---- the type: there is no value of it outside of a query ---- */

PG_FUNCTION_INFO_V1(emk_report_tail_in);
Datum
emk_report_tail_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot accept a value of type %s", "eventmkt.tail")));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_report_tail_out);
Datum
emk_report_tail_out(PG_FUNCTION_ARGS)
{
	const EmkTailMap *m = emk_tail_map(PG_GETARG_DATUM(0));

	PG_RETURN_CSTRING(psprintf("(%u profiles, %u events)", m->npersons, m->nevents));
}
