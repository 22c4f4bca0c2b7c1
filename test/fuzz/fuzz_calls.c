/*
 * fuzz_calls.c: the bytes are a programme of calls: every function of analytics/ that SQL can call (and plan_retry()), found in the
 * catalog, with arguments by their types. So aggregates add, merge and end states that others of them made, questions are asked of
 * timelines packed, merged, cut, forged, or with loose events behind them, and call sites see the same arguments again.
 *
 * slot       one of four states, one of four timelines; what a call returns goes into the slot of its first argument
 * Each byte of the programme is a choice, and zeros follow its end, so every programme means something. Calls are made as an aggregate
 * makes them: a state that was returned is copied unless it is the one that was given. A call that raises ends all states, as it ends a
 * query, and the programme goes on.
 */
#include "fuzz.h"

#include "analytics/analytics.h"
#include "analytics/timeline.h"
#include "analytics/timeline_int.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define SLOTS		4
#define MOST_ARGS	8
#define MOST_CALLS	80
#define LARGEST		(32 * 1024)	/* bytes of a state or timeline that is kept: merges double it, eighty times a programme */
#define MOST_LARGE	2			/* calls that make a thousand of something */

typedef struct Function
{
	Oid			oid;
	Oid			result;
	int			nargs;
	Oid			args[MOST_ARGS];
} Function;

typedef struct Programme
{
	const uint8 *p;
	const uint8 *end;
	int64		at;
	Datum		states[SLOTS];	/* 0: none */
	Datum		lines[SLOTS];
	void	   *rollup;
	int			state;			/* slots of the call at hand, -1: none yet */
	int			line;
	int			large;
} Programme;

static Function *functions;
static int	nfunctions;
static Oid	line_type;

static uint8
take(Programme *g)
{
	return g->p < g->end ? *g->p++ : 0;
}

static void
find_functions(void)
{
	Function   *list;

	SPI_connect();
	if (SPI_execute("SELECT p.oid, 'eventmkt.timeline'::regtype::oid FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prokind = 'f' AND p.pronargs <= 8 "
					"AND (p.prosrc LIKE 'emk_analytics_%' OR p.prosrc = 'emk_deliver_plan_retry') AND p.prosrc !~ '_(in|out|recv)$' ORDER BY p.oid", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the functions");
	list = MemoryContextAlloc(TopMemoryContext, SPI_processed * sizeof(Function));
	nfunctions = SPI_processed;
	for (int i = 0; i < nfunctions; i++)
	{
		bool		isnull;
		Oid		   *types;

		list[i].oid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		line_type = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		list[i].result = get_func_signature(list[i].oid, &types, &list[i].nargs);
		memcpy(list[i].args, types, list[i].nargs * sizeof(Oid));
	}
	functions = list;
	SPI_finish();
}

/* ---- arguments ---- */

static char *
take_text(Programme *g)
{
	static const char *const words[] = {
		"a", "b", "c", "d", "", "e0", "UTC", "Europe/Berlin", "America/New_York", "Nowhere/At_All", "GMT+3", "Pacific/Apia", "(?1)(?t>1m).*(?2)", "(?1)(?2)", "(?1).(?2)", "(?2)(?t<=2d)(?1)",
		"(?1)(?t==1h)(?1)", "(?3)", "(?1", "strict_order", "strict_once", "strict_increase", "strict_once strict_order", "strict", "120", "Sun, 06 Nov 2005 08:49:37 GMT", "view", "k1", "k2",
		"(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)(?1)(?2)"
	};
	int			c = take(g);
	int			n = take(g);
	char	   *s;

	if (c < 224)
		return pstrdup(words[(c + n) % lengthof(words)]);
	n = c < 240 ? n * 8 : n;
	s = palloc(n + 1);
	for (int i = 0; i < n; i++)
		s[i] = c < 240 ? 'x' : 1 + take(g) % 127;
	s[n] = '\0';
	return s;
}

static int64
take_time(Programme *g)
{
	static const int64 units[] = {0, 1, USECS_PER_SEC, USECS_PER_MINUTE, USECS_PER_HOUR, USECS_PER_DAY, 30 * USECS_PER_DAY, 3 * USECS_PER_HOUR};
	int			c = take(g);

	switch (c)
	{
		case 254:
			return DT_NOBEGIN;
		case 253:
			return DT_NOEND;
		case 252:
			return MIN_TIMESTAMP;
		case 251:
			return END_TIMESTAMP - 1;
		default:
			return g->at += units[c % 8] * (c / 8 - 3);
	}
}

static Datum
take_array(Programme *g, Oid element)
{
	int			shape = take(g);
	int			n = shape < 160 ? shape % 6 : shape < 224 ? 6 + (shape - 160) % 28 : shape < 240 ? 34 + shape % 7 : shape == 240 ? 1001 : shape % 4 * 2;
	int			dims[2] = {n, 1};
	int			bounds[2] = {1, 1};
	Datum	   *v = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1));
	bool		kept = shape < 240;

	if (!kept && n > 0 && shape < 252)
		dims[0] = n / 2, dims[1] = 2;
	for (int i = 0; i < n; i++)
	{
		int			c = n < 100 ? take(g) : 1;

		nulls[i] = c == 255 || c == 2;
		v[i] = element == BOOLOID ? BoolGetDatum(c & 1) : element == INT4OID ? Int32GetDatum((int8) c) : (Datum) 0;
		if (element == TEXTOID)
			v[i] = CStringGetTextDatum(c < 200 ? psprintf("%c", 'a' + c % 5) : take_text(g));
	}
	if (n % 2 != 0 || n > 100)
		dims[0] = n, dims[1] = 1;
	return PointerGetDatum(construct_md_array(v, nulls, n == 0 ? 0 : dims[1] == 2 ? 2 : 1, dims, bounds, element, element == TEXTOID ? -1 : element == BOOLOID ? 1 : 4,
											  element != TEXTOID, element == BOOLOID ? TYPALIGN_CHAR : TYPALIGN_INT));
}

static Datum
take_number(Programme *g, Oid type)
{
	static const int32 odd[] = {0, 1, 2, 3, 5, 7, -1, 24, 1000, 1001, 410, 429, 500, 503, 204, 302, 404, 408, 425, 100, 600, 11, PG_INT32_MAX, PG_INT32_MIN};
	static const char *const numerics[] = {"NaN", "Infinity", "-Infinity", "1e30", "9223372036854.775807", "-9223372036854.775808", "0.0000005", "1.5", "-2.25", "99999999999999"};
	int			c = take(g);

	if (type == NUMERICOID && c < 128)
		return DirectFunctionCall3(numeric_in, CStringGetDatum(numerics[c % lengthof(numerics)]), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	if (type == NUMERICOID)
		return NumericGetDatum(int64_to_numeric(c * (int64) take(g)));
	if (type == FLOAT8OID)
		return Float8GetDatum(c == 254 ? -1 : c == 253 ? 2 : c == 252 ? get_float8_nan() : c / 252.0);
	if (type == INT8OID)
		return Int64GetDatum(c < 128 ? odd[c % lengthof(odd)] : c * (int64) take(g) - 128);
	return Int32GetDatum(c < 128 ? odd[c % lengthof(odd)] : c - 128);
}

static Datum
take_interval(Programme *g)
{
	static const Interval spans[] = {
		{.day = 1}, {.time = USECS_PER_HOUR}, {.time = USECS_PER_MINUTE}, {.day = 7}, {0}, {.time = -1}, {.month = 1}, {.day = PG_INT32_MAX}, {.day = 200000000}, {.time = PG_INT64_MAX},
		{.day = PG_INT32_MAX, .time = PG_INT64_MAX}, {.day = 1, .time = -USECS_PER_DAY}, {.time = 1}, {.day = -5, .time = PG_INT64_MIN}
	};

	return IntervalPGetDatum(memcpy(palloc(sizeof(Interval)), &spans[take(g) % lengthof(spans)], sizeof(Interval)));
}

static Datum
argument(Programme *g, Oid type, bool *isnull)
{
	Datum		d = (Datum) 0;
	int			c;

	if (type == BYTEAOID || type == line_type)
	{
		int		   *slot = type == BYTEAOID ? &g->state : &g->line;

		bool		second = *slot >= 0;

		c = take(g) % SLOTS;
		*slot = second ? *slot : c;
		d = type == BYTEAOID ? g->states[c] : g->lines[c];
		*isnull = d == (Datum) 0;
		/* a state that is changed in place is never merged with itself */
		return second && type == BYTEAOID && !*isnull ? datumCopy(d, false, -1) : d;
	}
	*isnull = type == INTERNALOID ? g->rollup == NULL : (g->p < g->end && *g->p == 255);
	if (type == INTERNALOID)
		return PointerGetDatum(g->rollup);
	if (*isnull)
		return (void) take(g), d;
	switch (type)
	{
		case TIMESTAMPTZOID:
			return TimestampTzGetDatum(take_time(g));
		case INTERVALOID:
			return take_interval(g);
		case TEXTOID:
			return CStringGetTextDatum(take_text(g));
		case TEXTARRAYOID:
			return take_array(g, TEXTOID);
		case BOOLARRAYOID:
			return take_array(g, BOOLOID);
		case INT4ARRAYOID:
			return take_array(g, INT4OID);
		case BOOLOID:
			return BoolGetDatum(take(g) & 1);
		default:
			return take_number(g, type);
	}
}

/* ---- calls ---- */

/* what AggCheckCallContext() looks at */
static Node *
as_aggregate(void)
{
	AggState   *agg = makeNode(AggState);

	agg->curaggcontext = makeNode(ExprContext);
	agg->curaggcontext->ecxt_per_tuple_memory = CurrentMemoryContext;
	return (Node *) agg;
}

static ReturnSetInfo *
as_rows(FmgrInfo *flinfo)
{
	ReturnSetInfo *set = makeNode(ReturnSetInfo);

	set->econtext = makeNode(ExprContext);
	set->econtext->ecxt_per_query_memory = CurrentMemoryContext;
	set->allowedModes = SFRM_Materialize;
	(void) get_func_result_type(flinfo->fn_oid, NULL, &set->expectedDesc);
	return set;
}

static bool
changes_by_row(Oid type)
{
	return type == BYTEAOID || type == line_type || type == INTERNALOID || type == TIMESTAMPTZOID || type == BOOLOID || type == BOOLARRAYOID;
}

/* One call; with `same` only slots, times and answers are other ones than in the call before, as they are from row to row. */
static void
call_once(Programme *g, const Function *f, FunctionCallInfo fcinfo, FmgrInfo *flinfo, bool aggregate, bool same)
{
	NullableDatum args[MOST_ARGS];
	bool		anynull = false;
	Datum		d;

	memcpy(args, fcinfo->args, sizeof(args));
	InitFunctionCallInfoData(*fcinfo, flinfo, f->nargs, InvalidOid, NULL, NULL);
	fcinfo->context = aggregate || f->result == INTERNALOID ? as_aggregate() : NULL;
	fcinfo->resultinfo = flinfo->fn_retset ? (Node *) as_rows(flinfo) : NULL;
	g->state = g->line = -1;
	for (int i = 0; i < f->nargs; i++)
	{
		fcinfo->args[i] = args[i];
		if (!same || changes_by_row(f->args[i]))
			fcinfo->args[i].value = argument(g, f->args[i], &fcinfo->args[i].isnull);
		anynull |= fcinfo->args[i].isnull;
	}
	if (anynull && flinfo->fn_strict)
		return;
	d = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull || flinfo->fn_retset)
		return;
	if (f->result == INTERNALOID)
		g->rollup = DatumGetPointer(d);
	else if ((f->result == BYTEAOID || f->result == line_type) && VARSIZE_ANY(DatumGetPointer(d)) > LARGEST)
	{
		/* what is merged with itself doubles each time */
		if (f->result == BYTEAOID)
			g->states[Max(g->state, 0)] = (Datum) 0;
	}
	else if (f->result == BYTEAOID)
	{
		int			slot = Max(g->state, 0);

		g->states[slot] = d == g->states[slot] ? d : datumCopy(d, false, -1);
	}
	else if (f->result == line_type)
		g->lines[Max(g->line, 0)] = datumCopy(d, false, -1);
}

static void
call_function(Programme *g, const Function *f)
{
	LOCAL_FCINFO(fcinfo, MOST_ARGS);
	FmgrInfo	flinfo;
	int			how = take(g);

	fmgr_info_cxt(f->oid, &flinfo, CurrentMemoryContext);
	for (int k = 0; k <= how / 2 % 6; k++)
		call_once(g, f, fcinfo, &flinfo, how % 2 == 0, k > 0 && how >= 128);
}

/* An aggregate over hundreds of rows, whose arguments come from the same few bytes again and again, each time from another of them. */
static void
many_rows(Programme *g)
{
	LOCAL_FCINFO(fcinfo, MOST_ARGS);
	FmgrInfo	flinfo;
	const Function *f = &functions[take(g) % nfunctions];
	int			n = 100 + take(g) * 4;
	const uint8 *from;

	/* what joins two states would double one each time */
	if ((f->result != BYTEAOID && f->result != INTERNALOID) || f->nargs < 3)
		return;
	fmgr_info_cxt(f->oid, &flinfo, CurrentMemoryContext);
	call_once(g, f, fcinfo, &flinfo, true, false);
	from = g->p;
	for (int i = 0; i < n; i++)
	{
		g->p = Min(from + i % 8, g->end);
		call_once(g, f, fcinfo, &flinfo, true, true);
	}
}

/* bytes as they come, into a state or a timeline; or the bytes of one at hand, changed at a place */
static void
forge(Programme *g)
{
	int			how = take(g);
	Datum	   *slot = how % 2 ? &g->lines[how / 2 % SLOTS] : &g->states[how / 2 % SLOTS];
	struct varlena *v;
	int			n;

	if (how >= 64 && *slot != (Datum) 0 && !VARATT_IS_EXTERNAL(DatumGetPointer(*slot)))
	{
		v = (struct varlena *) DatumGetPointer(datumCopy(*slot, false, -1));
		n = VARSIZE_ANY_EXHDR(v);
		if (n > 0)
		{
			int			at = (take(g) * 256 + take(g)) % n;

			VARDATA_ANY(v)[at] = take(g);
		}
	}
	else
	{
		n = take(g) * 4;
		n = Min(n, g->end - g->p);
		v = palloc(VARHDRSZ + n);
		SET_VARSIZE(v, VARHDRSZ + n);
		memcpy(VARDATA(v), g->p, n);
		g->p += n;
	}
	*slot = PointerGetDatum(v);
}

/* loose events behind a timeline, or now and then before its end */
static void
join(Programme *g)
{
	static const char texts[] = "abcde0view";
	static const EmkLooseName short_list[] = {{0, 1}, {1, 1}};
	static const EmkLooseName long_list[] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 2}, {6, 4}};
	int			how = take(g);
	Datum	   *slot = &g->lines[how % SLOTS];
	EmkLoose	loose = {.number = how & 64 ? 2 : 1, .names = how & 64 ? long_list : short_list, .nnames = how & 64 ? lengthof(long_list) : lengthof(short_list)};
	EmkLooseEvent *events;
	StringInfoData buf;
	EmkTimeline tl;
	int64		at = 0;
	static Oid	last_at = InvalidOid;

	if (last_at == InvalidOid)
		last_at = emk_fuzz_function("eventmkt.last_at(eventmkt.timeline)");
	if (*slot == (Datum) 0 || VARATT_IS_EXTERNAL(DatumGetPointer(*slot)))
		return;
	emk_tl_open(&tl, (struct varlena *) DatumGetPointer(*slot));
	if (tl.n > 0)
		at = DatumGetTimestampTz(OidFunctionCall1(last_at, *slot));
	if (at > END_TIMESTAMP - 100 * USECS_PER_DAY)
		return;
	loose.n = 1 + how / 8 % 8;
	events = palloc0(loose.n * sizeof(EmkLooseEvent));
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, texts, strlen(texts));
	for (int i = 0; i < loose.n; i++)
	{
		int			c = take(g);
		int64		value = c * EMK_VALUE_UNIT;
		uint16		len = 2;

		at += c == 255 && i == 0 ? -USECS_PER_DAY : (1 + c % 16) * USECS_PER_HOUR / 4;
		events[i] = (EmkLooseEvent) {.at = at, .extra = buf.len, .name = c % loose.nnames, .has = (c & 64 ? EMK_EVENT_VALUE : 0) | (c & 128 ? EMK_LOOSE_KEY : 0)};
		if (c & 64)
			appendBinaryStringInfo(&buf, (char *) &value, sizeof(value));
		if (c & 128)
		{
			appendBinaryStringInfo(&buf, (char *) &len, sizeof(len));
			appendStringInfo(&buf, "k%d", c % 3);
		}
	}
	loose.texts = buf.data;
	loose.events = events;
	*slot = emk_analytics_join((struct varlena *) DatumGetPointer(*slot), &loose);
}

static void
number_sessions(Programme *g)
{
	Oid			types[] = {TIMESTAMPTZARRAYOID, INTERVALOID};
	Datum		values[2];
	int			n = take(g) % 8;
	Datum	   *times = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1));
	int			lower = 1;

	for (int i = 0; i < n; i++)
		times[i] = argument(g, TIMESTAMPTZOID, &nulls[i]);
	values[0] = PointerGetDatum(construct_md_array(times, nulls, n > 0, &n, &lower, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE));
	values[1] = take_interval(g);
	SPI_connect();
	SPI_execute_with_args("SELECT eventmkt.session_number(t, CASE WHEN o <> 5 THEN $2 END) OVER (ORDER BY o) FROM unnest($1) WITH ORDINALITY u(t, o)", 2, types, values, NULL, true, 0);
	SPI_finish();
}

/* a rollup's state holds many items after as many bytes */
static void
many_items(Programme *g)
{
	static const Function *add = NULL;
	LOCAL_FCINFO(fcinfo, MOST_ARGS);
	FmgrInfo	flinfo;
	int			n = 900 + take(g) * 5;

	for (int i = 0; add == NULL && i < nfunctions; i++)
		if (functions[i].result == INTERNALOID)
			add = &functions[i];
	fmgr_info_cxt(add->oid, &flinfo, CurrentMemoryContext);
	for (int i = 0; i < n; i++)
	{
		InitFunctionCallInfoData(*fcinfo, &flinfo, 5, InvalidOid, as_aggregate(), NULL);
		fcinfo->args[0] = (NullableDatum) {PointerGetDatum(g->rollup), g->rollup == NULL};
		fcinfo->args[1] = (NullableDatum) {TimestampTzGetDatum(g->at), false};
		fcinfo->args[2] = (NullableDatum) {CStringGetTextDatum("a"), false};
		fcinfo->args[3] = (NullableDatum) {CStringGetTextDatum(psprintf("item %d", i % (n - 5))), false};
		fcinfo->args[4] = (NullableDatum) {(Datum) 0, true};
		g->rollup = DatumGetPointer(FunctionCallInvoke(fcinfo));
	}
}

/* many events into one state or timeline, more than fits on a stack */
static void
many_events(Programme *g)
{
	EmkTimelineBuilder *b = emk_analytics_start_timeline();
	int			how = take(g);
	int			n = 1 << how % 12;

	for (int i = 0; i < n; i++)
	{
		char	   *name = palloc(8);	/* the builder keeps what it is given until it is finished */
		int64		value = i * EMK_VALUE_UNIT / 4;
		int64		id = i;
		int			len = how & 64 ? snprintf(name, 8, "e%d", i % 50) : 1;

		if (!(how & 64))
			name[0] = 'a' + i % 3;
		emk_analytics_add_event(b, g->at + i * USECS_PER_HOUR / 2, name, len, how & 16 ? "k1" : NULL, 2, how & 32 ? &value : NULL, how & 128 ? &id : NULL);
	}
	g->lines[take(g) % SLOTS] = PointerGetDatum(emk_analytics_finish_timeline(b));
}

void
emk_fuzz_calls(const uint8 *data, size_t n)
{
	Programme	g = {.p = data, .end = data + n, .at = INT64CONST(700000000000000)};
	MemoryContext mine = CurrentMemoryContext;

	if (functions == NULL)
		find_functions();
	for (int i = 0; i < MOST_CALLS && g.p < g.end; i++)
	{
		volatile int which = take(&g);

		if (which == 255)
			number_sessions(&g);	/* runs a query: what it raises ends the programme, and the subtransaction */
		PG_TRY();
		{
			switch (which)
			{
				case 255:
					break;
				case 254:
				case 253:
					join(&g);
					break;
				case 252:
				case 251:
					forge(&g);
					break;
				case 250:
					if (g.large++ < MOST_LARGE)
						many_items(&g);
					break;
				case 247:
				case 246:
					if (g.large++ < MOST_LARGE)
						many_rows(&g);
					break;
				case 249:
				case 248:
					if (g.large++ < MOST_LARGE)
						many_events(&g);
					break;
				default:
					call_function(&g, &functions[which % nfunctions]);
			}
		}
		PG_CATCH();
		{
			emk_fuzz_go_on(mine);
			memset(g.states, 0, sizeof(g.states));
			g.rollup = NULL;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(mine);
	}
}
