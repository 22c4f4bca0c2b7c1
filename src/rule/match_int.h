/*
 * match_int.h: the rule index in memory, which load.c fills and match.c asks.
 */
#ifndef EMK_RULE_MATCH_INT_H
#define EMK_RULE_MATCH_INT_H

#include "rule/rule.h"
#include "rule/rule_int.h"
#include "utils/palloc.h"

typedef enum EmkConditionState
{
	EMK_CONDITION_NONE,			/* nothing left to ask */
	EMK_CONDITION_UNREAD,		/* terms not looked at yet */
	EMK_CONDITION_TERMS,		/* a conjunction of terms */
	EMK_CONDITION_PATH			/* left to jsonb_path_match */
} EmkConditionState;

typedef struct EmkMatchRule
{
	int32		rule_id;
	int32		next;			/* in the chain of a hash bucket, -1 ends */
	uint32		hash;
	EmkConditionState state;
	int16		nterms;
	bool		lapse;
	Interval   *lapse_after;
	JsonPath   *condition;		/* its memory context is that of all the rule holds */
	EmkTerm    *terms;
	Jsonb	   *hash_value;
} EmkMatchRule;

/* The rules of one event name that demand a value of one property */
typedef struct EmkHashGroup
{
	char	   *property;
	int			property_len;
	uint32		mask;
	int32	   *buckets;		/* index into rules, -1 empty */
	EmkMatchRule *rules;
	int			nrules;
} EmkHashGroup;

typedef struct EmkNameEntry
{
	char		name[EMK_MAX_EVENT_NAME_BYTES + 1];
	int			nplain;
	EmkMatchRule *plain;
	int			ngroups;
	EmkHashGroup *groups;
	bool		partial;		/* only the plain rules are here; what demands a value is read per event */
	int			reads;			/* events it was read for */
} EmkNameEntry;

/*
 * Fill an entry whose name is set; what it held before is overwritten. Memory comes from `keep`; an ERROR leaves the entry
 * undefined. As the owner; they open SPI by themselves. Rows of rule_event are read with the latest snapshot.
 *
 * load: what listens to the name: all of it, or, where it is much, the plain rules only (`partial`).
 * load_all: all of it.
 * load_values: of the rules that demand a value those that these properties may satisfy (the caller compares again). Returns
 * false, with nothing read, when the event has more values than are worth a look-up each.
 */
extern void emk_rule_load(EmkNameEntry *e, MemoryContext keep);
extern void emk_rule_load_all(EmkNameEntry *e, MemoryContext keep);
extern bool emk_rule_load_values(EmkNameEntry *e, Jsonb *properties, MemoryContext keep);

/*
 * armed.c: is a run of this profile known to wait, so that the event need leave no work? If not, remembers that it arms one.
 * forget_armed: all of it.
 */
extern bool emk_rule_is_armed(const EmkMatchRule *r, const EmkMatchInput *in);
extern void emk_rule_forget_armed(void);

/* Hash of a scalar; equal scalars (1 and 1.0, say) have equal ones. */
extern uint32 emk_rule_hash_scalar(const JsonbValue *v);

#endif
