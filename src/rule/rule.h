/*
 * rule.h: rules as defined, compiled and matched; endpoints as defined.
 *
 * Conditions are jsonpath predicates. A hot condition cannot raise and takes a bounded time: spine 1 evaluates it. A cold one
 * (datetime(), like_regex, ** ...) is evaluated by the worker in a subtransaction with a time limit.
 */
#ifndef EMK_RULE_H
#define EMK_RULE_H

#include "base/base.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonpath.h"

extern void emk_rule_init(void);

typedef enum EmkRepeat
{
	EMK_REPEAT_IGNORE,
	EMK_REPEAT_DEBOUNCE,
	EMK_REPEAT_REPLACE,
	EMK_REPEAT_PARALLEL
} EmkRepeat;

/* A version of a rule as the worker sees it. Owned by the cache: valid to the end of the transaction. */
typedef struct EmkRule
{
	int32		rule_id;
	int32		version;
	char	   *name;
	bool		current;
	bool		enabled;
	char	   *on_event;
	JsonPath   *where_event;	/* NULL: any */
	JsonPath   *where_profile;
	JsonPath   *unless_where;
	bool		cold_event;		/* where_event is cold */
	bool		cold_profile;
	bool		cold_unless;
	int			at_least;
	Interval   *within;			/* NULL: lifetime */
	char	   *per;			/* NULL: no key */
	int			nunless;
	char	  **unless;
	Interval	look_back;
	Interval	after;
	EmkRepeat	on_repeat;
	Interval   *reentry;
	int32		endpoint_id;	/* 0: record only */
	Interval	max_lateness;
	int			priority;
	int32		where_segment;	/* segment_id the profile must be in; 0: any */
	bool		lapse;			/* an inactivity rule, see emk_rule_is_lapse() */
} EmkRule;

/* A rule by version, or its current version (NULL when dropped or never made). Opens SPI on a cache miss. */
extern const EmkRule *emk_rule_get(int32 rule_id, int32 version);
extern const EmkRule *emk_rule_current(int32 rule_id);

/*
 * Rules as defined. All of these run inside an open SPI connection, as the owner, unless they say otherwise.
 *
 * define: the body of create_rule() and replace_rule(), whose arguments are fcinfo's; opens its own connection as the
 * owner. `newly_enabled` (may be NULL) says whether a replaced rule went from disabled to enabled. Returns the rule id.
 * find: the current version of a rule by name, its row locked. unknown: ERROR EM002 with names that come close.
 * set_enabled: enables or disables all versions, with a reason (NULL: none), and keeps rule_event in step.
 * sync: rebuilds the rule_event rows of one rule; sync_all: of all, in its own connection as the owner.
 */
extern int32 emk_rule_define(FunctionCallInfo fcinfo, bool replace, bool *newly_enabled);
extern int32 emk_rule_find(const char *name, int32 *version, bool *enabled);
pg_noreturn extern void emk_rule_unknown(const char *name);
extern void emk_rule_set_enabled(int32 rule_id, bool enabled, const char *reason);
extern void emk_rule_sync(int32 rule_id);
extern void emk_rule_sync_all(void);

/*
 * peek: the current version by name, for reading only; ERROR EM002 when there is none. draft: a rule that does not exist, from the
 * arguments of create_rule() as a JSON object; palloc'd, rule_id 0, endpoint_id -1 unless it only records. Both work in a read-only
 * transaction.
 */
extern const EmkRule *emk_rule_peek(const char *name);
extern const EmkRule *emk_rule_draft(Jsonb *definition);
/* Called after a rule was made or replaced and is disabled, to say what it would do; inside SPI, as the owner. */
extern void emk_rule_set_estimator(void (*fn) (const EmkRule *rule));

/*
 * An inactivity rule: the same event (or, for '*', any event) restarts the delay and nothing else matters, so one run a
 * profile is enough and its due run re-reads the last event. Pure; looks at the definition only, never at `lapse`.
 */
extern bool emk_rule_is_lapse(const EmkRule *rule);

/* What the analysis of a condition finds. */
typedef struct EmkCondition
{
	bool		predicate;		/* it is a predicate; anything else is refused */
	bool		cold;			/* may raise or take long: only the worker evaluates it */
	const char *why_cold;		/* the construct, for messages */
	char	   *hash_property;	/* `$.p == constant` must hold for the condition to hold; or NULL */
	Jsonb	   *hash_value;		/* that constant */
	bool		hash_is_all;	/* the condition is nothing but that comparison */
} EmkCondition;
extern void emk_rule_analyse(JsonPath *path, EmkCondition *out);

/*
 * Is the condition true for the value? NULL path: true. Exactly jsonb_path_match(value, path, '{}', true) IS TRUE (cold: _tz). A cold
 * condition runs in a subtransaction with a time limit of eventmkt.condition_timeout; on error *error is set to a palloc'd
 * message and false is returned (error may be NULL: then the error is the caller's).
 */
extern bool emk_rule_test(JsonPath *path, bool cold, Jsonb *value, char **error);

/* The facts (JSON text) of a decision that where_profile made: the traits where they are small, or the error. */
extern char *emk_rule_audience_facts(Jsonb *traits, const char *error);

/*
 * What segments listen to: rule_event rows with negative ids, of which each stands for what emk_segment_listen() says; `lapse` and
 * `after` as of an inactivity rule. Replaces all there were. Inside SPI, as the owner.
 */
extern void emk_rule_set_listeners(const EmkRule *listeners, int n);

/*
 * HOT. Which rules does this event start or cancel? Returns their number and points *rules at the ids, in a buffer that the
 * next call reuses. Leaves after one hash miss when no rule names the event. Engine-made events (depth > 0) match no '*'
 * rule. An inactivity rule matches once a profile and backend until its run falls due. As the owner; opens SPI by itself
 * when a name is seen for the first time.
 */
typedef struct EmkMatchInput
{
	const char *name;
	Jsonb	   *properties;
	const char *profile_id;
	int			depth;
	TimestampTz occurred_at;
	TimestampTz now;
	bool		history;		/* it fires nothing: only segments are matched */
	int64		event_id;		/* 0: not known; then inactivity rules match each time */
} EmkMatchInput;
extern int	emk_rule_match(const EmkMatchInput *in, const int32 **rules);

/* The rule's key in these properties: '' without `per`; NULL when missing, not a scalar or too long. Palloc'd. */
extern char *emk_rule_key(const EmkRule *rule, Jsonb *properties);
/* Does the name start the rule ('*' takes the app's own events only), or is it one of its cancelling names? */
extern bool emk_rule_names_start(const EmkRule *rule, const char *name, int depth);
extern bool emk_rule_names_cancel(const EmkRule *rule, const char *name, int depth);
/* Does this event cancel, key and time aside? An event that starts the rule is a repeat, never a cancel. */
extern bool emk_rule_cancels(const EmkRule *rule, const char *name, int depth, Jsonb *properties, char **error);

/* A rule whose condition fails again and again is disabled with this reason; inside SPI, as the owner. */
extern void emk_rule_disable(int32 rule_id, const char *reason);

#endif
