/*
 * define_int.h: between the files that define a rule: define.c writes, validate.c refuses, advise.c warns, sample.c
 * remembers what events looked like lately, sync.c derives the rows the matcher reads.
 */
#ifndef EMK_RULE_DEFINE_INT_H
#define EMK_RULE_DEFINE_INT_H

#include "rule/rule.h"

/* The arguments of create_rule() and replace_rule(), in their order. */
typedef enum EmkRuleArg
{
	ARG_NAME, ARG_ON_EVENT, ARG_WHERE_EVENT, ARG_WHERE_PROFILE, ARG_AT_LEAST, ARG_WITHIN, ARG_PER, ARG_UNLESS,
	ARG_UNLESS_WHERE, ARG_LOOK_BACK, ARG_AFTER, ARG_ON_REPEAT, ARG_REENTRY, ARG_SEND_TO, ARG_TEMPLATE, ARG_STEPS,
	ARG_MAX_LATENESS, ARG_PRIORITY, ARG_ENABLED, ARG_WHERE_SEGMENT
} EmkRuleArg;

/* A definition as given: the rule (endpoint_id not yet resolved) and what EmkRule has no place for. */
typedef struct EmkRuleSpec
{
	EmkRule		rule;
	const char *send_to;		/* NULL: the only endpoint there is */
	const char *where_segment;	/* its name, or NULL */
	bool		keep_enabled;	/* replace_rule() without `enabled`: as it was */
} EmkRuleSpec;

/* The names of EmkRuleArg, in its order */
extern const char *const emk_rule_arg_names[];
/* The names of EmkRepeat, in its order; NULL-terminated. */
extern const char *const emk_rule_repeat_names[];

/* Reads and checks the arguments; any fault is an ERROR with a hint. Pure: no SPI. Strings live in the caller's context. */
extern void emk_rule_validate(FunctionCallInfo fcinfo, bool replace, EmkRuleSpec *spec);
/* NOTICEs and WARNINGs about a definition that is valid but may not do what is meant. In SPI, as the owner. */
extern void emk_rule_advise(const EmkRule *rule);

/*
 * What a bounded sample of the newest events shows of an event name, sampled at most once a second: -1 there are no events
 * at all, 0 the name does not occur, else 1 and up to a handful of property objects in *samples (owned by the cache,
 * valid until the next call). In SPI, as the owner.
 */
extern int	emk_rule_history(const char *name, Jsonb ***samples, int *nsamples);

/* Writes the rule_event rows of n current, enabled rules; earlier rows of theirs must be gone. In SPI, as the owner. */
extern void emk_rule_write_events(const EmkRule *rules, int n);
/* ERROR 54000 when the rows just written for a rule make too many for one value of one event. In SPI, as the owner. */
extern void emk_rule_check_crowd(int32 rule_id);

#endif
