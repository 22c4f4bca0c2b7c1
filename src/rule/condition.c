/*
 * condition.c: what a jsonpath condition is (cold: create_rule and cache loading only), and asking it.
 *
 * predicate    the root of the expression is a comparison, and/or/not, is unknown, exists, starts with or like_regex
 * hot          only accessors, comparisons, arithmetic, boolean operators, starts with, exists and .double(): nothing that
 *              can raise in silent mode or take long on a small document (one wildcard, one filter; two paths compared
 *              are the product of their arrays). Asked of a large document it is treated as cold. Everything else, also
 *              what a later PostgreSQL adds, is cold until it is shown to be hot.
 * hash term    a term `$.name == constant` that must hold for the whole to hold, i.e. reachable through && only
 */
#include "postgres.h"

#include "rule/rule.h"
#include "rule/rule_int.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define MAX_CONDITION_DEPTH 32
#define MAX_HOT_WILDCARDS 1
#define MAX_HOT_FILTERS 1
#define FACTS_BYTES 2048			/* traits that a decision may carry */

typedef struct Walk
{
	EmkCondition *out;
	int			wildcards;
	int			filters;
} Walk;

static int	condition_timeout_ms = 200;

void
emk_rule_init_condition(void)
{
	DefineCustomIntVariable("eventmkt.condition_timeout",
							"Time limit of one evaluation of a cold condition by the worker.",
							NULL, &condition_timeout_ms, 200, 1, 60000, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

static bool
is_predicate(JsonPathItem *v)
{
	switch (v->type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiNot:
		case jpiIsUnknown:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiExists:
		case jpiStartsWith:
		case jpiLikeRegex:
			return !jspHasNext(v);
		default:
			return false;
	}
}

static void
set_cold(Walk *w, const char *why)
{
	if (!w->out->cold)
		w->out->why_cold = why;
	w->out->cold = true;
}

static void walk(Walk *w, JsonPathItem *v, int depth);

static void
walk_args(Walk *w, JsonPathItem *v, int depth, bool two)
{
	JsonPathItem sub;

	jspGetLeftArg(v, &sub);
	walk(w, &sub, depth + 1);
	if (two)
	{
		jspGetRightArg(v, &sub);
		walk(w, &sub, depth + 1);
	}
}

static void
walk_arg(Walk *w, JsonPathItem *v, int depth)
{
	JsonPathItem sub;

	jspGetArg(v, &sub);
	walk(w, &sub, depth + 1);
}

static void
walk_subscripts(Walk *w, JsonPathItem *v, int depth)
{
	for (int i = 0; i < v->content.array.nelems; i++)
	{
		JsonPathItem from,
					to;

		if (jspGetArraySubscript(v, &from, &to, i))
			walk(w, &to, depth + 1);
		walk(w, &from, depth + 1);
	}
}

/* Classifies one item and all it holds. */
static void
walk(Walk *w, JsonPathItem *v, int depth)
{
	JsonPathItem next;

	if (depth > MAX_CONDITION_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("condition is nested deeper than the limit of %d", MAX_CONDITION_DEPTH)));
	switch (v->type)
	{
		case jpiNull:
		case jpiString:
		case jpiNumeric:
		case jpiBool:
		case jpiRoot:
		case jpiCurrent:
		case jpiKey:
		case jpiLast:
		case jpiDouble:
		case jpiType:
		case jpiSize:
			break;
		case jpiAnyArray:
		case jpiAnyKey:
			if (++w->wildcards > MAX_HOT_WILDCARDS)
				set_cold(w, "several wildcards");
			break;
		case jpiIndexArray:
			walk_subscripts(w, v, depth);
			break;
		case jpiAnd:
		case jpiOr:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiAdd:
		case jpiSub:
		case jpiMul:
		case jpiDiv:
		case jpiMod:
		case jpiStartsWith:
			walk_args(w, v, depth, true);
			break;
		case jpiNot:
		case jpiIsUnknown:
		case jpiExists:
		case jpiPlus:
		case jpiMinus:
			walk_arg(w, v, depth);
			break;
		case jpiFilter:
			if (++w->filters > MAX_HOT_FILTERS)
				set_cold(w, "several filters");
			walk_arg(w, v, depth);
			break;
		case jpiLikeRegex:
			set_cold(w, "like_regex");
			break;
		case jpiAny:
			set_cold(w, "**");
			break;
		case jpiDatetime:
			set_cold(w, "datetime()");
			break;
		case jpiVariable:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a condition has no variables"),
					 errhint("Write the value itself instead of a $\"name\" variable.")));
			break;
		default:
			set_cold(w, "a method that may fail");
			break;
	}
	if (jspGetNext(v, &next))
		walk(w, &next, depth);
}

/* `$.name`: returns the name, else NULL */
static char *
plain_property(JsonPathItem *v, int32 *len)
{
	JsonPathItem key;

	if (v->type != jpiRoot || !jspGetNext(v, &key) || key.type != jpiKey || jspHasNext(&key))
		return NULL;
	return jspGetString(&key, len);
}

/* A scalar constant as a JsonbValue; false for anything else */
static bool
plain_constant(JsonPathItem *v, JsonbValue *out)
{
	if (jspHasNext(v))
		return false;
	switch (v->type)
	{
		case jpiNull:
			out->type = jbvNull;
			return true;
		case jpiBool:
			out->type = jbvBool;
			out->val.boolean = jspGetBool(v);
			return true;
		case jpiNumeric:
			out->type = jbvNumeric;
			out->val.numeric = jspGetNumeric(v);
			return true;
		case jpiString:
			out->type = jbvString;
			out->val.string.val = jspGetString(v, &out->val.string.len);
			return true;
		default:
			return false;
	}
}

/*
 * Reads `$.name op constant` or `constant op $.name` (op is turned round) into a term; false when the item is none.
 * Strings and constants point into the jsonpath.
 */
bool
emk_rule_plain_term(JsonPathItem *v, EmkTerm *term)
{
	static const JsonPathItemType turned[][2] = {
		{jpiEqual, jpiEqual}, {jpiNotEqual, jpiNotEqual}, {jpiLess, jpiGreater}, {jpiGreater, jpiLess},
		{jpiLessOrEqual, jpiGreaterOrEqual}, {jpiGreaterOrEqual, jpiLessOrEqual}
	};
	JsonPathItem left,
				right;
	JsonPathItemType turned_op = jpiNull;

	for (int i = 0; i < lengthof(turned); i++)
		if (turned[i][0] == v->type)
			turned_op = turned[i][1];
	if (turned_op == jpiNull || jspHasNext(v))
		return false;
	jspGetLeftArg(v, &left);
	jspGetRightArg(v, &right);
	term->op = v->type;
	term->property = plain_property(&left, &term->property_len);
	if (term->property != NULL)
		return plain_constant(&right, &term->constant);
	term->op = turned_op;
	term->property = plain_property(&right, &term->property_len);
	return term->property != NULL && plain_constant(&left, &term->constant);
}

/* Finds an equality reachable through && only. */
static bool
find_hash_term(JsonPathItem *v, EmkTerm *term)
{
	JsonPathItem sub;

	if (v->type != jpiAnd)
		return emk_rule_plain_term(v, term) && term->op == jpiEqual;
	jspGetLeftArg(v, &sub);
	if (find_hash_term(&sub, term))
		return true;
	jspGetRightArg(v, &sub);
	return find_hash_term(&sub, term);
}

/*
 * Fills *out with what the analysis finds; strings are palloc'd. ERROR 54000 when nested too deep, 22023 for variables.
 */
void
emk_rule_analyse(JsonPath *path, EmkCondition *out)
{
	Walk		w = {out};
	JsonPathItem root;
	EmkTerm		term;

	memset(out, 0, sizeof(*out));
	jspInit(&root, path);
	out->predicate = is_predicate(&root);
	walk(&w, &root, 0);
	if (out->predicate && find_hash_term(&root, &term))
	{
		out->hash_property = pnstrdup(term.property, term.property_len);
		out->hash_value = JsonbValueToJsonb(&term.constant);
		out->hash_is_all = root.type == jpiEqual && (path->header & JSONPATH_LAX) != 0;
	}
}

/* jsonb_path_match(value, path, '{}', true) IS TRUE; a cold one compares times with zones, so jsonb_path_match_tz() */
static bool
path_match(JsonPath *path, Jsonb *value, bool cold)
{
	static Jsonb *no_vars = NULL;
	static MemoryContext scratch = NULL;	/* what jsonpath leaves behind, which can be a thousand times the document */
	LOCAL_FCINFO(fcinfo, 4);
	MemoryContext old;
	Datum		result;

	if (no_vars == NULL)
	{
		if (scratch == NULL)
			scratch = AllocSetContextCreate(TopMemoryContext, "eventmkt condition", ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(TopMemoryContext);
		no_vars = emk_json_parse("{}");
		MemoryContextSwitchTo(old);
	}
	MemoryContextReset(scratch);	/* of one that raised */
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(value);
	fcinfo->args[1].value = PointerGetDatum(path);
	fcinfo->args[2].value = JsonbPGetDatum(no_vars);
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	old = MemoryContextSwitchTo(scratch);
	result = cold ? jsonb_path_match_tz(fcinfo) : jsonb_path_match(fcinfo);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scratch);
	return !fcinfo->isnull && DatumGetBool(result);
}

typedef struct ColdMatch
{
	JsonPath   *path;
	Jsonb	   *value;
	bool		result;
} ColdMatch;

static void
run_cold(void *arg)
{
	ColdMatch  *m = arg;

	m->result = path_match(m->path, m->value, true);
}

/* A cold condition: in a subtransaction, with a time limit. */
static bool
cold_match(JsonPath *path, Jsonb *value, char **error)
{
	ColdMatch	m = {path, value, false};

	*error = emk_guard_run(condition_timeout_ms, "condition", run_cold, &m);
	return *error == NULL && m.result;
}

bool
emk_rule_test(JsonPath *path, bool cold, Jsonb *value, char **error)
{
	char	   *message = NULL;
	bool		result;

	if (error != NULL)
		*error = NULL;
	if (path == NULL)
		return true;
	if (!cold && VARSIZE_ANY(value) <= EMK_RULE_HOT_BYTES)
		return path_match(path, value, false);
	result = cold_match(path, value, &message);
	if (message != NULL && error == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("condition failed: %s", message)));
	if (error != NULL)
		*error = message;
	return result;
}

char *
emk_rule_audience_facts(Jsonb *traits, const char *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	if (error != NULL)
		emk_json_append_string(&buf, "error", error);
	else
		emk_json_append_jsonb(&buf, "traits", VARSIZE(traits) <= FACTS_BYTES ? traits : NULL);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}
