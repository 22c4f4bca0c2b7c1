/*
 * why_not.h: between why_not.c, which walks the way of a message, and why_events.c, which looks at the starting events.
 */
#ifndef EMK_ADMIN_WHY_NOT_H
#define EMK_ADMIN_WHY_NOT_H

#include "admin/explain.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

typedef struct EmkWhyRow
{
	int			weight;			/* 0: never the answer */
	const char *step;
	const char *outcome;
	const char *reason;
	int64		event_id;
	const char *detail;			/* JSON text or NULL */
} EmkWhyRow;

typedef struct EmkWhy
{
	int32		rule_id;
	const EmkRule *rule;		/* its newest version */
	TimestampTz made_at;		/* its first version */
	TimestampTz changed_at;		/* its newest version */
	TimestampTz now;
	char	   *profile_id;
	Datum		ids;			/* text[]: all ids of the profile */
	Jsonb	   *traits;
	int			open;			/* live runs, open deliveries and work rows seen */
	int			ready;			/* of these, what a worker would take now */
	TimestampTz decided_at;		/* newest decision, 0: none */
	bool		newest_matches; /* the newest starting event passes every test of the event itself */
	const char *newest_key;
	List	   *rows;
} EmkWhy;

extern void emk_why_add(EmkWhy *why, int weight, const char *step, const char *outcome, const char *reason, int64 event_id,
						const char *detail);
/* Appends "key": time to a JSON object. */
extern void emk_why_time(StringInfo json, const char *key, TimestampTz t);
/* {"terms": [...]} */
extern char *emk_why_terms(const EmkTermResult *terms, int n);
extern void emk_why_look_at_events(EmkWhy *why);

#endif
