/*
 * advise.c: what is valid but perhaps not meant. Nothing here refuses a rule; it says what the author will otherwise find
 * out by waiting: an event name nobody ever sent, a number compared with text, a condition that only the worker evaluates.
 */
#include "postgres.h"

#include "rule/define_int.h"
#include "utils/builtins.h"

#define MAX_KEYS 8

/* Property objects against which a condition's comparisons are checked. */
typedef struct Check
{
	const char *arg;
	const char *event;
	Jsonb	  **samples;
	int			nsamples;
	bool		warned;
} Check;

/* `$.a.b` and nothing else: its keys into keys[], their number returned; 0 when the expression is anything else. */
static int
plain_keys(JsonPathItem *expr, char **keys)
{
	JsonPathItem cur = *expr;
	JsonPathItem next;
	int			n = 0;

	if (cur.type != jpiRoot)
		return 0;
	while (jspGetNext(&cur, &next))
	{
		int32		len;
		char	   *key;

		if (next.type != jpiKey || n == MAX_KEYS)
			return 0;
		key = jspGetString(&next, &len);
		keys[n++] = pnstrdup(key, len);
		cur = next;
	}
	return n;
}

/* The type at the end of the keys; jbvNull when something on the way is missing. */
static enum jbvType
type_at(Jsonb *object, char **keys, int n)
{
	JsonbContainer *c = &object->root;
	JsonbValue	v;

	v.type = jbvNull;
	for (int i = 0; i < n; i++)
	{
		if (!JsonContainerIsObject(c) || getKeyJsonValueFromContainer(c, keys[i], strlen(keys[i]), &v) == NULL)
			return jbvNull;
		if (v.type == jbvBinary)
			c = v.val.binary.data;
		else if (i < n - 1)
			return jbvNull;
	}
	return v.type;
}

static char *
dotted(char **keys, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '$');
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, ".%s", keys[i]);
	return buf.data;
}

/* path compared with a literal: do the samples have the literal's type? */
static void
check_comparison(Check *check, JsonPathItem *path, JsonPathItem *literal)
{
	char	   *keys[MAX_KEYS];
	int			n;
	int			numbers = 0;
	int			texts = 0;

	if ((literal->type != jpiNumeric && literal->type != jpiString) || check->warned)
		return;
	n = plain_keys(path, keys);
	if (n == 0)
		return;
	for (int i = 0; i < check->nsamples; i++)
	{
		enum jbvType type = type_at(check->samples[i], keys, n);

		numbers += type == jbvNumeric;
		texts += type == jbvString;
	}
	if (literal->type == jpiNumeric && texts > 0)
	{
		check->warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("%s compares %s with a number, but in recent \"%s\" events it is text", check->arg,
						dotted(keys, n), check->event),
				 errdetail("Text never compares with a number: the condition is not true for such events."),
				 errhint("Write %s.double() to read the text as a number.", dotted(keys, n))));
	}
	else if (literal->type == jpiString && numbers > 0 && texts == 0)
	{
		check->warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("%s compares %s with text, but in recent \"%s\" events it is a number", check->arg,
						dotted(keys, n), check->event),
				 errdetail("A number never compares with text: the condition is not true for such events."),
				 errhint("Write the constant without quotes.")));
	}
}

static void
walk(Check *check, JsonPathItem *item)
{
	JsonPathItem left;
	JsonPathItem right;

	switch (item->type)
	{
		case jpiAnd:
		case jpiOr:
			jspGetLeftArg(item, &left);
			jspGetRightArg(item, &right);
			walk(check, &left);
			walk(check, &right);
			break;
		case jpiNot:
		case jpiIsUnknown:
			jspGetArg(item, &left);
			walk(check, &left);
			break;
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
			jspGetLeftArg(item, &left);
			jspGetRightArg(item, &right);
			check_comparison(check, &left, &right);
			check_comparison(check, &right, &left);
			break;
		default:
			break;
	}
}

/* Never seen? compared with the wrong type? for one event name and the condition on it */
static void
check_event(const char *event, const char *arg, JsonPath *path, const char *path_arg)
{
	Check		check = {.arg = path_arg, .event = event};
	JsonPathItem root;

	/* any event, or one that the engine itself makes */
	if (strcmp(event, "*") == 0 || strcmp(event, "trait changed") == 0)
		return;
	if (emk_rule_history(event, &check.samples, &check.nsamples) == 0)
		ereport(NOTICE,
				(errmsg("no recent event is named \"%s\"", event),
				 errdetail("%s names it.", arg),
				 errhint("If events of that name are still to come, all is well; otherwise check the spelling and the case.")));
	if (path == NULL || check.nsamples == 0)
		return;
	jspInit(&root, path);
	walk(&check, &root);
}

static void
note_cold(JsonPath *path, bool cold, const char *arg)
{
	EmkCondition c;

	if (!cold)
		return;
	memset(&c, 0, sizeof(c));
	emk_rule_analyse(path, &c);
	ereport(NOTICE,
			(errmsg("%s is evaluated by the worker, not as events come in", arg),
			 errdetail("%s can raise an error or take long, so every event of that name is handed to the worker.",
					   c.why_cold ? c.why_cold : "It"),
			 errhint("This is correct but costs more; comparisons, arithmetic, exists and starts with are evaluated at once.")));
}

void
emk_rule_advise(const EmkRule *rule)
{
	check_event(rule->on_event, "on_event", rule->where_event, "where_event");
	for (int i = 0; i < rule->nunless; i++)
		if (strcmp(rule->unless[i], rule->on_event) != 0)
			check_event(rule->unless[i], "unless", rule->unless_where, "unless_where");
	note_cold(rule->where_event, rule->cold_event, "where_event");
	note_cold(rule->unless_where, rule->cold_unless, "unless_where");
	if (rule->within != NULL && rule->at_least == 1)
		ereport(NOTICE,
				(errmsg("within has no effect with at_least => 1"),
				 errhint("It is the window in which at_least events are counted.")));
	if (!rule->lapse && strcmp(rule->on_event, "*") == 0 && rule->where_event == NULL)
		ereport(NOTICE,
				(errmsg("every event of the app is handed to the worker for this rule"),
				 errhint("Only an inactivity rule (on_event and unless '*', after, debounce) is cheaper.")));
}
