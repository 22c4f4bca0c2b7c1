/*
 * draft.c: a rule to be tried before it exists: the arguments of create_rule() as one JSON object, read and checked by the code that
 * checks those of create_rule() itself. Nothing is written or locked.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/define_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

static EmkPlan name_plan = {
	"SELECT rule_id FROM eventmkt_data.rule WHERE name OPERATOR(pg_catalog.=) $1 AND current", 1, {TEXTOID}
};
static EmkPlan segment_plan = {
	"SELECT segment_id FROM eventmkt_data.segment WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};

typedef enum ArgKind
{
	KIND_TEXT, KIND_PATH, KIND_INT, KIND_INTERVAL, KIND_NAMES, KIND_JSON, KIND_BOOL
} ArgKind;

/* How each argument is written in JSON and what it is when left out (NULL: null) */
static const struct
{
	ArgKind		kind;
	const char *otherwise;
}			args[] = {
	[ARG_NAME] = {KIND_TEXT, "draft"},
	[ARG_ON_EVENT] = {KIND_TEXT, NULL},
	[ARG_WHERE_EVENT] = {KIND_PATH, NULL},
	[ARG_WHERE_PROFILE] = {KIND_PATH, NULL},
	[ARG_AT_LEAST] = {KIND_INT, "1"},
	[ARG_WITHIN] = {KIND_INTERVAL, NULL},
	[ARG_PER] = {KIND_TEXT, NULL},
	[ARG_UNLESS] = {KIND_NAMES, ""},
	[ARG_UNLESS_WHERE] = {KIND_PATH, NULL},
	[ARG_LOOK_BACK] = {KIND_INTERVAL, "0"},
	[ARG_AFTER] = {KIND_INTERVAL, "0"},
	[ARG_ON_REPEAT] = {KIND_TEXT, "debounce"},
	[ARG_REENTRY] = {KIND_INTERVAL, NULL},
	[ARG_SEND_TO] = {KIND_TEXT, NULL},
	[ARG_TEMPLATE] = {KIND_TEXT, NULL},
	[ARG_STEPS] = {KIND_JSON, NULL},
	[ARG_MAX_LATENESS] = {KIND_INTERVAL, NULL},
	[ARG_PRIORITY] = {KIND_INT, "0"},
	[ARG_ENABLED] = {KIND_BOOL, "true"},
	[ARG_WHERE_SEGMENT] = {KIND_TEXT, NULL},
};

static void
refuse(int arg, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s in a definition must be %s", emk_rule_arg_names[arg], what),
			 errhint("A definition has the arguments of eventmkt.create_rule() as keys.")));
}

static void
refuse_unknown(Jsonb *definition)
{
	JsonbIterator *it = JsonbIteratorInit(&definition->root);
	JsonbIteratorToken tok;
	JsonbValue	v;

	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *key;
		bool		known = false;

		if (tok != WJB_KEY)
			continue;
		key = pnstrdup(v.val.string.val, v.val.string.len);
		for (int i = 0; i < lengthof(args); i++)
			known = known || strcmp(key, emk_rule_arg_names[i]) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a rule has no argument \"%s\"", key),
					 errhint("A definition has the arguments of eventmkt.create_rule() as keys.")));
	}
}

/* ["a", "b"], or one name alone */
static Datum
names(int arg, JsonbValue *v, const char *text)
{
	JsonbContainer *array;
	Datum	   *d;
	int			n;

	if (text != NULL)
	{
		Datum		one = CStringGetTextDatum(text);

		return emk_spi_array(&one, NULL, 1, TEXTOID);
	}
	if (v == NULL)
		return emk_spi_array(NULL, NULL, 0, TEXTOID);
	if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		refuse(arg, "an array of event names");
	array = v->val.binary.data;
	n = JsonContainerSize(array);
	d = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *e = getIthJsonbValueFromContainer(array, i);

		if (e->type != jbvString)
			refuse(arg, "an array of event names");
		d[i] = PointerGetDatum(cstring_to_text_with_len(e->val.string.val, e->val.string.len));
	}
	return emk_spi_array(d, NULL, n, TEXTOID);
}

static Datum
read_arg(int arg, JsonbValue *v, const char *text)
{
	switch (args[arg].kind)
	{
		case KIND_NAMES:
			return names(arg, v, v != NULL ? text : NULL);
		case KIND_PATH:
			return DirectFunctionCall1(jsonpath_in, CStringGetDatum(text));
		case KIND_INT:
			return DirectFunctionCall1(int4in, CStringGetDatum(text));
		case KIND_BOOL:
			return DirectFunctionCall1(boolin, CStringGetDatum(text));
		case KIND_INTERVAL:
			return DirectFunctionCall3(interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		default:
			return CStringGetTextDatum(text);
	}
}

/* Puts the arguments where a call of create_rule() would have them. */
static void
fill(FunctionCallInfo fcinfo, Jsonb *definition)
{
	for (int arg = 0; arg < lengthof(args); arg++)
	{
		const char *name = emk_rule_arg_names[arg];
		JsonbValue	buf;
		JsonbValue *v = getKeyJsonValueFromContainer(&definition->root, name, strlen(name), &buf);
		const char *text;

		if (v != NULL && v->type == jbvNull)
			v = NULL;
		text = v != NULL ? emk_json_scalar(definition, name, strlen(name)) : args[arg].otherwise;
		if (v != NULL && text == NULL && args[arg].kind != KIND_NAMES && args[arg].kind != KIND_JSON)
			refuse(arg, "a string, a number or a boolean");
		fcinfo->args[arg].isnull = text == NULL && v == NULL;
		if (fcinfo->args[arg].isnull)
			fcinfo->args[arg].value = (Datum) 0;
		else
			fcinfo->args[arg].value = args[arg].kind == KIND_JSON ? JsonbPGetDatum(definition) : read_arg(arg, v, text);
	}
}

/* The row's segment_id by name; 0 for none */
static int32
segment_id(const char *name)
{
	Datum		arg;

	if (name == NULL)
		return 0;
	arg = CStringGetTextDatum(name);
	if (emk_spi_run(&segment_plan, &arg, NULL, true, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_SEGMENT),
				 errmsg("segment \"%s\" does not exist", name),
				 errhint("The segments are listed in the view eventmkt_bi.segments.")));
	return emk_spi_int4(0, 1, 0);
}

const EmkRule *
emk_rule_draft(Jsonb *definition)
{
	LOCAL_FCINFO(fcinfo, lengthof(args));
	EmkRuleSpec *spec = palloc(sizeof(EmkRuleSpec));
	MemoryContext mine = CurrentMemoryContext;

	if (!JB_ROOT_IS_OBJECT(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a definition must be a JSON object"),
				 errhint("Write the arguments of eventmkt.create_rule(), for example {\"on_event\": \"Product Added\", "
						 "\"after\": \"24 hours\"}.")));
	refuse_unknown(definition);
	InitFunctionCallInfoData(*fcinfo, NULL, lengthof(args), InvalidOid, NULL, NULL);
	fill(fcinfo, definition);
	emk_rule_validate(fcinfo, false, spec);
	spec->rule.endpoint_id = spec->send_to != NULL && strcmp(spec->send_to, "none") == 0 ? 0 : -1;
	SPI_connect();
	spec->rule.where_segment = segment_id(spec->where_segment);
	SPI_finish();
	MemoryContextSwitchTo(mine);
	spec->rule.version = 1;
	spec->rule.enabled = true;
	return &spec->rule;
}

const EmkRule *
emk_rule_peek(const char *name)
{
	Datum		arg = CStringGetTextDatum(name);
	int32		id;

	SPI_connect();
	if (emk_spi_run(&name_plan, &arg, NULL, true, 1) == 0)
		emk_rule_unknown(name);
	id = emk_spi_int4(0, 1, 0);
	SPI_finish();
	return emk_rule_current(id);
}
