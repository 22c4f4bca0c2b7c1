/*
 * match.c: HOT. Which rules an event starts or cancels, in memory.
 *
 * Runs once per event in the app's transaction. It may not: write, wait, raise for a rule's sake, or evaluate a cold
 * condition. Guarded by `make bench` (1,000 rules; 10,000 rules on one event).
 *
 * The index has one entry per event name that was asked for, also for names that no rule listens to. An entry holds plain
 * rules, asked one by one, and rules that demand `$.p == constant`, found by a probe of (p, value): ten thousand of those cost
 * one probe a property. Conditions of `$.p op constant` terms are compared here; any other hot condition is left to
 * jsonb_path_match. Everything lives in one memory context that is thrown away when a rule changes.
 *
 * Inactivity rules: the run of a profile re-reads the last event when it falls due, so one work row a lapse is enough. `armed`
 * remembers (profile, rule) → a time until which a run is known to wait; an abort forgets it all, because the row that
 * armed it may be gone. It is half of the run's delay: an event that relies on a run must be committed before the run is
 * decided, and its transaction may stay open for long. Delays under two hours are not worth that risk. Whoever ends a lapse run
 * before its time (adopt, quarantine, undoing a merge) invalidates rule_event, so every backend forgets.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "rule/rule.h"
#include "rule/rule_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/numeric.h"

#define MAX_TERMS 4
#define MAX_NAMES 4096			/* entries kept, negative ones included; then the index starts anew */
#define ARMED_SLOTS 32768		/* power of two */
#define ARMED_MIN_DELAY (2 * USECS_PER_HOUR)

typedef enum ConditionState
{
	CONDITION_NONE,				/* nothing left to ask */
	CONDITION_UNREAD,			/* terms not looked at yet */
	CONDITION_TERMS,			/* a conjunction of terms */
	CONDITION_PATH				/* left to jsonb_path_match */
} ConditionState;

typedef struct MatchRule
{
	int32		rule_id;
	int32		next;			/* in the chain of a hash bucket, -1 ends */
	uint32		hash;
	ConditionState state;
	int16		nterms;
	bool		lapse;
	Interval   *lapse_after;
	JsonPath   *condition;
	EmkTerm    *terms;
	Jsonb	   *hash_value;
} MatchRule;

/* The rules of one event name that demand a value of one property */
typedef struct HashGroup
{
	char	   *property;
	int			property_len;
	uint32		mask;
	int32	   *buckets;		/* index into rules, -1 empty */
	MatchRule  *rules;
	int			nrules;
} HashGroup;

typedef struct NameEntry
{
	char		name[EMK_MAX_EVENT_NAME_BYTES + 1];
	int			nplain;
	MatchRule  *plain;
	int			ngroups;
	HashGroup  *groups;
} NameEntry;

typedef struct Armed
{
	uint64		tag;
	TimestampTz until;
} Armed;

static MemoryContext match_context = NULL;
static HTAB *names = NULL;			/* NULL: the index is stale */
static Oid	rule_event_oid = InvalidOid;
static NameEntry *star = NULL;
static Armed *armed = NULL;
static uint64 armed_seed = 0;
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
static bool armed_dirty = false;	/* armed by the current transaction */

static EmkPlan load_plan = {
	"SELECT rule_id, lapse, lapse_after, hash_property, hash_value, condition FROM eventmkt_data.rule_event "
	"WHERE name OPERATOR(pg_catalog.=) $1 ORDER BY hash_property, rule_id", 1, {TEXTOID}
};

static void
forget_rules(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == rule_event_oid)
		names = NULL;
}

static void
forget_armed(void)
{
	if (armed != NULL && armed_dirty)
		memset(armed, 0, sizeof(Armed) * ARMED_SLOTS);
	armed_dirty = false;
}

static void
at_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT)
		armed_dirty = false;
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forget_armed();
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_armed();
}

void
emk_rule_init_match(void)
{
	CacheRegisterRelcacheCallback(forget_rules, (Datum) 0);
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

static uint32
hash_scalar(const JsonbValue *v)
{
	switch (v->type)
	{
		case jbvString:
			return hash_bytes((const unsigned char *) v->val.string.val, v->val.string.len);
		case jbvNumeric:
			return DatumGetUInt32(DirectFunctionCall1(hash_numeric, NumericGetDatum(v->val.numeric)));
		case jbvBool:
			return v->val.boolean ? 0x51ed270b : 0x2f7a3cd1;
		default:
			return 0x7c0e1b55;	/* null */
	}
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
read_terms(MatchRule *r)
{
	EmkTerm		terms[MAX_TERMS];
	JsonPathItem root;
	int			n = 0;

	r->state = CONDITION_PATH;
	jspInit(&root, r->condition);
	if ((r->condition->header & JSONPATH_LAX) == 0 || !collect_terms(&root, terms, &n))
		return;
	r->terms = MemoryContextAlloc(match_context, sizeof(EmkTerm) * n);
	memcpy(r->terms, terms, sizeof(EmkTerm) * n);
	r->nterms = n;
	r->state = CONDITION_TERMS;
}

static bool
condition_holds(MatchRule *r, Jsonb *properties)
{
	if (r->state == CONDITION_UNREAD)
		read_terms(r);
	if (r->state == CONDITION_PATH && VARSIZE_ANY(properties) > EMK_RULE_HOT_BYTES)
		return true;			/* may take long: the worker asks it, with a time limit */
	if (r->state == CONDITION_PATH)
		return emk_rule_test(r->condition, false, properties, NULL);
	for (int i = 0; i < r->nterms; i++)
		if (!term_holds(&r->terms[i], properties))
			return false;
	return true;
}

/* Is the run of this profile known to wait? If not, remembers that this event arms it. */
static bool
is_armed(const MatchRule *r, const EmkMatchInput *in)
{
	TimestampTz due;
	uint64		tag;
	Armed	   *slot;

	if (armed == NULL)
	{
		armed = MemoryContextAllocZero(TopMemoryContext, sizeof(Armed) * ARMED_SLOTS);
		armed_seed = pg_prng_uint64(&pg_global_prng_state);
	}
	tag = hash_bytes_extended((const unsigned char *) in->profile_id, strlen(in->profile_id),
							  armed_seed + (uint64) r->rule_id);
	slot = &armed[tag & (ARMED_SLOTS - 1)];
	if (slot->tag == tag && in->now < slot->until)
		return true;
	due = emk_clock_add(in->occurred_at, r->lapse_after);
	if (due - in->occurred_at < ARMED_MIN_DELAY)
		return false;
	slot->tag = tag;
	slot->until = in->occurred_at + (due - in->occurred_at) / 2;
	armed_dirty = true;
	return false;
}

static void
take(MatchRule *r, const EmkMatchInput *in)
{
	if (r->state != CONDITION_NONE && !condition_holds(r, in->properties))
		return;
	if (r->lapse && is_armed(r, in))
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
probe(HashGroup *g, const JsonbValue *v, const EmkMatchInput *in)
{
	uint32		h;

	if (v->type == jbvBinary)
		return;
	h = hash_scalar(v);
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
match_group(HashGroup *g, const EmkMatchInput *in)
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
match_entry(NameEntry *e, const EmkMatchInput *in)
{
	for (int i = 0; i < e->nplain; i++)
		take(&e->plain[i], in);
	for (int i = 0; i < e->ngroups; i++)
		match_group(&e->groups[i], in);
}

static void
build_buckets(HashGroup *g)
{
	uint32		size = 16;

	while (size < (uint32) g->nrules * 2)
		size *= 2;
	g->mask = size - 1;
	g->buckets = MemoryContextAlloc(match_context, sizeof(int32) * size);
	memset(g->buckets, 0xff, sizeof(int32) * size);
	for (int i = 0; i < g->nrules; i++)
	{
		JsonbValue	v;

		JsonbExtractScalar(&g->rules[i].hash_value->root, &v);
		g->rules[i].hash = hash_scalar(&v);
		g->rules[i].next = g->buckets[g->rules[i].hash & g->mask];
		g->buckets[g->rules[i].hash & g->mask] = i;
	}
}

/* Copies row `i` of the loaded rule_event rows into a rule. */
static void
read_rule(uint64 i, MatchRule *r)
{
	bool		isnull;
	Datum		d;

	memset(r, 0, sizeof(*r));
	r->rule_id = emk_spi_int4(i, 1, 0);
	r->lapse = emk_spi_bool(i, 2, false);
	d = emk_spi_datum(i, 3, &isnull);
	if (!isnull)
	{
		r->lapse_after = palloc(sizeof(Interval));
		*r->lapse_after = *DatumGetIntervalP(d);
	}
	d = emk_spi_datum(i, 5, &isnull);
	r->hash_value = isnull ? NULL : DatumGetJsonbPCopy(d);
	d = emk_spi_datum(i, 6, &isnull);
	r->condition = isnull ? NULL : DatumGetJsonPathPCopy(d);
	r->state = isnull ? CONDITION_NONE : CONDITION_UNREAD;
}

/* Loads the rules that name an event. Rows come sorted by hash property, those without one last. */
static void
load_entry(NameEntry *e)
{
	Datum		arg = CStringGetTextDatum(e->name);
	MatchRule  *rules;
	MemoryContext old;
	char	   *property = NULL;
	EmkOwner	owner;
	int			n;

	emk_owner_enter(&owner);
	SPI_connect();
	n = (int) emk_spi_run_latest(&load_plan, &arg);
	old = MemoryContextSwitchTo(match_context);
	rules = n > 0 ? MemoryContextAllocHuge(match_context, sizeof(MatchRule) * n) : NULL;
	for (int i = 0; i < n; i++)
	{
		char	   *p = emk_spi_text(i, 4);

		read_rule(i, &rules[i]);
		if (p == NULL)
		{
			e->plain = &rules[i];
			e->nplain = n - i;
			for (i++; i < n; i++)
				read_rule(i, &rules[i]);
			break;
		}
		if (property == NULL || strcmp(p, property) != 0)
		{
			e->groups = e->groups == NULL ? palloc(sizeof(HashGroup)) :
				repalloc(e->groups, sizeof(HashGroup) * (e->ngroups + 1));
			memset(&e->groups[e->ngroups], 0, sizeof(HashGroup));
			e->groups[e->ngroups].property = property = pstrdup(p);
			e->groups[e->ngroups].property_len = strlen(p);
			e->groups[e->ngroups].rules = &rules[i];
			e->ngroups++;
		}
		e->groups[e->ngroups - 1].nrules++;
	}
	for (int i = 0; i < e->ngroups; i++)
		build_buckets(&e->groups[i]);
	MemoryContextSwitchTo(old);
	SPI_finish();
	emk_owner_leave(&owner);
}

static NameEntry *
find_entry(const char *name)
{
	bool		found;
	NameEntry  *e = hash_search(names, name, HASH_ENTER, &found);

	if (!found)
	{
		volatile bool loaded = false;

		e->nplain = e->ngroups = 0;
		e->plain = NULL;
		e->groups = NULL;
		PG_TRY();
		{
			load_entry(e);
			loaded = true;
		}
		PG_FINALLY();
		{
			if (!loaded)
				names = NULL;	/* an entry that is half filled must not be met again */
		}
		PG_END_TRY();
	}
	return e;
}

/* Starts the index anew: at first use, after a rule changed, and when too many names were asked for. */
static void
begin_index(void)
{
	HASHCTL		ctl;

	if (match_context == NULL)
		match_context = AllocSetContextCreate(TopMemoryContext, "eventmkt rule index", ALLOCSET_DEFAULT_SIZES);
	names = NULL;
	MemoryContextReset(match_context);
	rule_event_oid = emk_setting_table("rule_event");
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = EMK_MAX_EVENT_NAME_BYTES + 1;
	ctl.entrysize = sizeof(NameEntry);
	ctl.hcxt = match_context;
	names = hash_create("eventmkt event names", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	armed_dirty = true;
	forget_armed();
	star = NULL;
}

int
emk_rule_match(const EmkMatchInput *in, const int32 **rules)
{
	NameEntry  *e;

	nmatched = 0;
	asked.property = NULL;
	/* loading may process an invalidation and drop the index under us: then begin again */
	do
	{
		if (names == NULL || hash_get_num_entries(names) >= MAX_NAMES)
			begin_index();
		if (star == NULL)
			star = find_entry("*");
		e = names != NULL ? find_entry(in->name) : NULL;
	} while (names == NULL);
	match_entry(e, in);
	if (in->depth == 0)
		match_entry(star, in);
	*rules = matched;
	return nmatched;
}
