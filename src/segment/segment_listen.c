/*
 * segment_listen.c: what can matter to the members of tracked segments, told to the matcher as rows of rule_event.
 *
 * Rows belong to bases, also where only a segment made of them is tracked. A base whose condition is one event of a name without
 * more, or the absence of names, listens as an inactivity rule does: one work row a person is enough until half the window is
 * over, because the timer that ends the window reads the history again.
 */
#include "postgres.h"

#include "segment/segment_live.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonpath.h"

#define MAX_TRAITS 16

typedef struct Listeners
{
	EmkRule    *v;
	int			n;
	int			room;
} Listeners;

static const Interval for_ever = {.day = EMK_MAX_INTERVAL_DAYS};

/* One name for one code and step; a name that comes twice loses its condition. */
static void
listen_step(Listeners *l, int32 id, int code, int step, const char *name, JsonPath *condition)
{
	EmkRule    *r;
	int32		rule_id = -EMK_LISTEN_ID(id, code, step);

	for (int i = 0; i < l->n; i++)
		if (l->v[i].rule_id == rule_id && strcmp(l->v[i].on_event, name) == 0)
		{
			l->v[i].where_event = NULL;
			return;
		}
	if (l->n == l->room)
	{
		l->room = Max(64, l->room * 2);
		l->v = l->v == NULL ? palloc(sizeof(EmkRule) * l->room) : repalloc(l->v, sizeof(EmkRule) * l->room);
	}
	r = &l->v[l->n++];
	memset(r, 0, sizeof(*r));
	r->rule_id = rule_id;
	r->on_event = (char *) name;
	r->where_event = condition;
}

static void
listen(Listeners *l, int32 id, int code, const char *name, JsonPath *condition)
{
	listen_step(l, id, code, 0, name, condition);
}

/* What was added last may be left out while it cannot matter. */
static void
listen_seldom(Listeners *l, int from, const Interval *window)
{
	for (int i = from; i < l->n; i++)
	{
		l->v[i].lapse = true;
		l->v[i].after = window ? *window : for_ever;
	}
}

/* The traits a condition speaks of, by `$.name`; false when it may look at any. */
static bool
find_traits(JsonPathItem *v, EmkNames *out)
{
	JsonPathItem sub;

	switch (v->type)
	{
		case jpiRoot:
			if (!jspGetNext(v, &sub) || sub.type != jpiKey || out->n == MAX_TRAITS)
				return false;
			out->v[out->n++] = jspGetString(&sub, NULL);
			break;
		case jpiNull:
		case jpiString:
		case jpiNumeric:
		case jpiBool:
		case jpiCurrent:
		case jpiKey:
		case jpiAnyArray:
		case jpiAnyKey:
		case jpiDouble:
		case jpiType:
		case jpiSize:
		case jpiDatetime:
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
			jspGetLeftArg(v, &sub);
			if (!find_traits(&sub, out))
				return false;
			jspGetRightArg(v, &sub);
			if (!find_traits(&sub, out))
				return false;
			break;
		case jpiNot:
		case jpiIsUnknown:
		case jpiExists:
		case jpiPlus:
		case jpiMinus:
		case jpiFilter:
			jspGetArg(v, &sub);
			if (!find_traits(&sub, out))
				return false;
			break;
		case jpiLikeRegex:
			jspInitByBuffer(&sub, v->base, v->content.like_regex.expr);
			if (!find_traits(&sub, out))
				return false;
			break;
		default:
			return false;
	}
	return !jspGetNext(v, &sub) || find_traits(&sub, out);
}

/* The condition on 'trait changed' under which a condition on traits can change; NULL: always */
static JsonPath *
trait_condition(JsonPath *path)
{
	char	   *v[MAX_TRAITS];
	EmkNames	traits = {.v = v};
	JsonPathItem root;
	StringInfoData buf;

	jspInit(&root, path);
	if (!find_traits(&root, &traits) || traits.n == 0)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < traits.n; i++)
	{
		appendStringInfoString(&buf, i ? " || $.trait == " : "$.trait == ");
		escape_json(&buf, traits.v[i]);
	}
	return DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(buf.data)));
}

static void
listen_to_enter(Listeners *l, const EmkLive *s)
{
	const EmkSegmentSpec *spec = &s->spec;
	bool		plain = spec->at_least == 1 && spec->where_event.path == NULL && spec->per == NULL && spec->ndays == 0 &&
		!spec->has_from && !spec->has_to && spec->steps.n == 0;
	int			from = l->n;

	if (spec->on_event != NULL)
		listen(l, s->id, EMK_LISTEN_ENTER, spec->on_event, spec->where_event.path);
	for (int i = 0; i < spec->steps.n; i++)
		listen_step(l, s->id, EMK_LISTEN_ENTER, emk_live_step(spec, i), spec->steps.v[i], NULL);
	if (plain)
		listen_seldom(l, from, spec->within);
}

static void
listen_to_base(Listeners *l, const EmkLive *s)
{
	const EmkSegmentSpec *spec = &s->spec;
	int			from;

	if (spec->where_profile.path != NULL)
		listen(l, s->id, EMK_LISTEN_ANY, "trait changed", trait_condition(spec->where_profile.path));
	listen_to_enter(l, s);
	from = l->n;
	for (int i = 0; i < spec->unless.n; i++)
		listen(l, s->id, EMK_LISTEN_LEAVE, spec->unless.v[i], spec->unless_where.path);
	if (spec->unless_where.path == NULL)
		listen_seldom(l, from, spec->unless_within);
}

void
emk_live_listen(void)
{
	Listeners	l = {0};
	EmkLive   **all;
	int			n;

	emk_live_refresh();
	all = emk_live_all(&n);
	for (int i = 0; i < n; i++)
	{
		int			from;

		if (all[i]->nusers == 0)
			continue;			/* nothing tracked is made of it */
		if (all[i]->spec.kind != EMK_SEGMENT_SEGMENTS)
			listen_to_base(&l, all[i]);
		if (!all[i]->any_event)
			continue;
		listen(&l, all[i]->id, EMK_LISTEN_KNOWN, EMK_PROFILE_MADE, NULL);
		from = l.n;
		listen(&l, all[i]->id, EMK_LISTEN_KNOWN, "*", NULL);
		listen_seldom(&l, from, NULL);
	}
	if (emk_live_tracked() > 0)
		listen(&l, 0, EMK_LISTEN_ANY, EMK_PROFILE_MERGED, NULL);
	emk_rule_set_listeners(l.v, l.n);
}
