/*
 * match.c: HOT. Which rules an event starts or cancels, in memory.
 *
 * Runs once per event in the app's transaction. It may not: write, wait, raise for a rule's sake, or evaluate a cold
 * condition. Guarded by `make bench` (1,000 rules; 10,000 rules on one event).
 *
 * The index has one entry per event name that was asked for, also for names that no rule listens to. An entry holds plain
 * rules, asked one by one, and rules that demand `$.p == constant`, found by a probe of (p, value): ten thousand of those cost
 * one probe a property. Where very many listen to one name, a new backend reads those that the event may satisfy, event by
 * event, before it loads them all (load.c). Conditions of `$.p op constant` terms are compared here; any other hot condition
 * is left to jsonb_path_match. Everything lives in one memory context that is thrown away when a rule changes.
 *
 * Inactivity rules: the run of a profile re-reads the last event when it falls due, so one work row a lapse is enough: armed.c.
 *
 * Segments whose members are kept listen like rules, under negative ids.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "rule/match_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"

#define MAX_TERMS 4
#define PARTIAL_EVENTS 32		/* events a backend meets before it loads the many rules of one name */
#define MAX_NAMES 4096			/* entries kept, negative ones included; then the index starts anew */

static MemoryContext match_context = NULL;
static HTAB *names = NULL;
static bool stale = true;			/* names is to begin anew */
static MemoryContext values_context = NULL; /* what was read for the call under way only */
static Oid	rule_event_oid = InvalidOid;
static EmkNameEntry *star = NULL;
static int32 *matched = NULL;		/* the answer of the call under way */
static int	nmatched = 0;
static int	matched_room = 0;
static struct
{
	const char *property;		/* NULL: none yet */
	int			property_len;
	JsonbValue *value;			/* NULL: the event has no such property */
	JsonbValue	buf;
}			asked;				/* the property that the call under way asked for last */

static void
forget_rules(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == rule_event_oid)
		stale = true;
}

void
emk_rule_init_match(void)
{
	emk_base_on_relcache(forget_rules);
}

static bool
same_scalar(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				memcmp(a->val.string.val, b->val.string.val, a->val.string.len) == 0;
		case jbvNumeric:
			return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(a->val.numeric),
													NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		default:
			return a->type == jbvNull;
	}
}

/* jsonpath's comparison of one item with a constant, true or not (false and unknown are one here) */
static bool
item_holds(const EmkTerm *t, const JsonbValue *item)
{
	int			cmp;

	if (item->type != t->constant.type)
		return t->op == jpiNotEqual && (item->type == jbvNull || t->constant.type == jbvNull);
	switch (item->type)
	{
		case jbvNumeric:
			cmp = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(item->val.numeric),
													NumericGetDatum(t->constant.val.numeric)));
			break;
		case jbvBool:
			cmp = (int) item->val.boolean - (int) t->constant.val.boolean;
			break;
		default:				/* strings and nulls: only (in)equality comes here, see read_terms() */
			cmp = same_scalar(item, &t->constant) ? 0 : 1;
			break;
	}
	switch (t->op)
	{
		case jpiEqual:
			return cmp == 0;
		case jpiNotEqual:
			return cmp != 0;
		case jpiLess:
			return cmp < 0;
		case jpiGreater:
			return cmp > 0;
		case jpiLessOrEqual:
			return cmp <= 0;
		default:
			return cmp >= 0;
	}
}

/* As jsonpath compares in lax mode: an array is unwrapped once, and one element is enough. NULL: there is no such property. */
static bool
value_holds(const EmkTerm *term, JsonbValue *v)
{
	if (v == NULL)
		return false;
	if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		return item_holds(term, v);
	for (int i = 0; i < (int) JsonContainerSize(v->val.binary.data); i++)
		if (item_holds(term, getIthJsonbValueFromContainer(v->val.binary.data, i)))
			return true;
	return false;
}

/* The rules of one event often ask for the same property, so what was looked up last is kept. */
static bool
term_holds(const EmkTerm *term, Jsonb *properties)
{
	if (!JB_ROOT_IS_OBJECT(properties))
		return false;
	if (asked.property == NULL || asked.property_len != term->property_len ||
		memcmp(asked.property, term->property, term->property_len) != 0)
	{
		asked.value = getKeyJsonValueFromContainer(&properties->root, term->property, term->property_len, &asked.buf);
		asked.property = term->property;
		asked.property_len = term->property_len;
	}
	return value_holds(term, asked.value);
}

/* Collects the terms of a conjunction; false when it is anything else. */
static bool
collect_terms(JsonPathItem *v, EmkTerm *terms, int *n)
{
	JsonPathItem sub;

	if (v->type == jpiAnd)
	{
		jspGetLeftArg(v, &sub);
		if (!collect_terms(&sub, terms, n))
			return false;
		jspGetRightArg(v, &sub);
		return collect_terms(&sub, terms, n);
	}
	if (*n == MAX_TERMS || !emk_rule_plain_term(v, &terms[*n]))
		return false;
	/* the order of strings is jsonpath's own business, and null has none */
	if (terms[*n].op != jpiEqual && terms[*n].op != jpiNotEqual &&
		terms[*n].constant.type != jbvNumeric && terms[*n].constant.type != jbvBool)
		return false;
	(*n)++;
	return true;
}

static void
read_terms(EmkMatchRule *r)
{
	EmkTerm		terms[MAX_TERMS];
	JsonPathItem root;
	int			n = 0;

	r->state = EMK_CONDITION_PATH;
	jspInit(&root, r->condition);
	if ((r->condition->header & JSONPATH_LAX) == 0 || !collect_terms(&root, terms, &n))
		return;
	r->terms = MemoryContextAlloc(GetMemoryChunkContext(r->condition), sizeof(EmkTerm) * n);
	memcpy(r->terms, terms, sizeof(EmkTerm) * n);
	r->nterms = n;
	r->state = EMK_CONDITION_TERMS;
}

static bool
condition_holds(EmkMatchRule *r, Jsonb *properties)
{
	if (r->state == EMK_CONDITION_UNREAD)
		read_terms(r);
	if (r->state == EMK_CONDITION_PATH && VARSIZE_ANY(properties) > EMK_RULE_HOT_BYTES)
		return true;			/* may take long: the worker asks it, with a time limit */
	if (r->state == EMK_CONDITION_PATH)
		return emk_rule_test(r->condition, false, properties, NULL);
	for (int i = 0; i < r->nterms; i++)
		if (!term_holds(&r->terms[i], properties))
			return false;
	return true;
}

static void
take(EmkMatchRule *r, const EmkMatchInput *in)
{
	if (in->history && r->rule_id > 0)
		return;
	if (r->state != EMK_CONDITION_NONE && !condition_holds(r, in->properties))
		return;
	if (r->lapse && emk_rule_is_armed(r, in))
		return;
	for (int i = 0; i < nmatched; i++)
		if (matched[i] == r->rule_id)
			return;
	if (nmatched == matched_room)
	{
		matched_room = Max(64, matched_room * 2);
		matched = matched == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int32) * matched_room) :
			repalloc(matched, sizeof(int32) * matched_room);
	}
	matched[nmatched++] = r->rule_id;
}

static void
probe(EmkHashGroup *g, const JsonbValue *v, const EmkMatchInput *in)
{
	uint32		h;

	if (v->type == jbvBinary)
		return;
	h = emk_rule_hash_scalar(v);
	for (int32 i = g->buckets[h & g->mask]; i >= 0; i = g->rules[i].next)
	{
		JsonbValue	want;

		if (g->rules[i].hash != h)
			continue;
		JsonbExtractScalar(&g->rules[i].hash_value->root, &want);
		if (same_scalar(v, &want))
			take(&g->rules[i], in);
	}
}

static void
match_group(EmkHashGroup *g, const EmkMatchInput *in)
{
	JsonbValue	buf;
	JsonbValue *v;

	if (!JB_ROOT_IS_OBJECT(in->properties))
		return;
	v = getKeyJsonValueFromContainer(&in->properties->root, g->property, g->property_len, &buf);
	if (v == NULL)
		return;
	if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		probe(g, v, in);
	else
		for (int i = 0; i < (int) JsonContainerSize(v->val.binary.data); i++)
			probe(g, getIthJsonbValueFromContainer(v->val.binary.data, i), in);
}

static void
match_entry(EmkNameEntry *e, const EmkMatchInput *in)
{
	for (int i = 0; i < e->nplain; i++)
		take(&e->plain[i], in);
	for (int i = 0; i < e->ngroups; i++)
		match_group(&e->groups[i], in);
}

/* Loads an entry, whole if need be; one that is half filled must not be met again. */
static void
fill_entry(EmkNameEntry *e, void (*fill) (EmkNameEntry *e, MemoryContext keep))
{
	volatile bool filled = false;

	PG_TRY();
	{
		fill(e, match_context);
		filled = true;
	}
	PG_FINALLY();
	{
		if (!filled)
			stale = true;
	}
	PG_END_TRY();
}

static EmkNameEntry *
find_entry(const char *name)
{
	bool		found;
	EmkNameEntry *e = hash_search(names, name, HASH_ENTER, &found);

	if (!found)
		fill_entry(e, emk_rule_load);
	return e;
}

/*
 * The rules that demand a value, of an entry that has only the others: those that this event may satisfy. After PARTIAL_EVENTS
 * events, or for an event with many values, all are loaded, and there is no second entry (NULL).
 */
static EmkNameEntry *
find_values(EmkNameEntry *e, EmkNameEntry *room, Jsonb *properties)
{
	if (!e->partial)
		return NULL;
	strlcpy(room->name, e->name, sizeof(room->name));
	if (e->reads++ < PARTIAL_EVENTS && emk_rule_load_values(room, properties, values_context))
		return room;
	fill_entry(e, emk_rule_load_all);
	return NULL;
}

/* Starts the index anew: at first use, after a rule changed, and when too many names were asked for. */
static void
begin_index(void)
{
	HASHCTL		ctl;

	if (match_context == NULL)
	{
		match_context = AllocSetContextCreate(TopMemoryContext, "eventmkt rule index", ALLOCSET_DEFAULT_SIZES);
		values_context = AllocSetContextCreate(TopMemoryContext, "eventmkt rules of an event", ALLOCSET_SMALL_SIZES);
	}
	stale = true;
	MemoryContextReset(match_context);
	rule_event_oid = emk_setting_table("rule_event");
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = EMK_MAX_EVENT_NAME_BYTES + 1;
	ctl.entrysize = sizeof(EmkNameEntry);
	ctl.hcxt = match_context;
	names = hash_create("eventmkt event names", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	emk_rule_forget_armed();
	star = NULL;
	stale = false;
}

int
emk_rule_match(const EmkMatchInput *in, const int32 **rules)
{
	EmkNameEntry room[2];
	EmkNameEntry *e[4];
	int			tries = 0;
	int			n;

	nmatched = 0;
	asked.property = NULL;
	/* loading may process an invalidation: then begin again, but not without end; nothing was matched so far */
	do
	{
		if (values_context != NULL)
			MemoryContextReset(values_context);
		if (stale || hash_get_num_entries(names) >= MAX_NAMES)
			begin_index();
		n = 0;
		if (star == NULL)
			star = find_entry("*");
		e[n++] = find_entry(in->name);
		if (in->depth == 0)
			e[n++] = star;
		for (int i = n - 1; i >= 0; i--)
			if (unlikely(e[i]->partial) && (e[n] = find_values(e[i], &room[i], in->properties)) != NULL)
				n++;
	} while (unlikely(stale) && ++tries < EMK_LOAD_TRIES);
	for (int i = 0; i < n; i++)
		match_entry(e[i], in);
	if (unlikely(n > 2))
		MemoryContextReset(values_context);
	*rules = matched;
	return nmatched;
}
