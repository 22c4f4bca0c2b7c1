/*
 * event.h: the event table, the work queue and the decision log, each with its only writer.
 */
#ifndef EMK_EVENT_H
#define EMK_EVENT_H

#include "base/base.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/uuid.h"

extern void emk_event_init(void);

typedef struct EmkEvent
{
	int64		event_id;		/* 0 until appended */
	const char *profile_id;		/* canonical */
	const char *name;
	Jsonb	   *properties;
	TimestampTz occurred_at;
	TimestampTz received_at;
	const char *message_id;		/* or NULL */
	const char *anonymous_id;	/* or NULL */
	int			depth;			/* 0: the app's own event */
	int64		conflict_of;	/* 0: none */
} EmkEvent;

/* A new event id: node and sequence. */
extern int64 emk_event_next_id(void);

/* Append one event or many, as the owner; event_id must be set. Needs no SPI connection. */
extern void emk_event_append(const EmkEvent *ev);
extern void emk_event_append_many(const EmkEvent *evs, int n);

/* A message id as one caller gave it, and the event that has it. */
typedef struct EmkMessageKey
{
	const char *user_id;		/* the id the caller gave: user, else anonymous */
	const char *message_id;
	int64		event_id;
	int64		digest;
	TimestampTz seen_at;
} EmkMessageKey;

/*
 * Writes the key if nobody has it; never waits. Returns false, with nothing written, when somebody has it or is about to, and
 * when the table is not as init() makes it: then an INSERT … ON CONFLICT must decide. As the owner; needs no SPI connection.
 */
extern bool emk_event_write_key(const EmkMessageKey *key);

/*
 * One piece of work: `rules` are the rules this event starts or cancels and, negative, what it may matter to in segments; those go to
 * a table of their own, with `depth` and `quiet`.
 */
typedef struct EmkWork
{
	char		kind;			/* 'e' event, 'm' merge (event_id is the merge_id, profile_id the id merged away) */
	int64		event_id;
	const char *profile_id;
	TimestampTz occurred_at;
	const int32 *rules;
	int			nrules;
	int			depth;			/* of the event */
	bool		quiet;			/* history: membership follows, and nothing fires */
} EmkWork;

/* Append work rows, as the owner; asks for the wake at commit. Needs no SPI connection. */
extern void emk_event_enqueue(const EmkWork *work, int n);

/* One decision; NULL strings are SQL NULL except key, which is ''. Times of 0 are SQL NULL (DT_NOBEGIN is not used). */
typedef struct EmkDecision
{
	int64		run_id;			/* 0: none */
	int32		rule_id;
	const char *rule;
	int32		rule_version;
	const char *profile_id;
	const char *key;
	const char *outcome;
	const char *reason;
	const char *facts;			/* JSON text or NULL */
	const pg_uuid_t *delivery_id;	/* or NULL */
	int64		event_id;		/* 0: none */
	TimestampTz started_at;
	TimestampTz due_at;
} EmkDecision;

/* Write decisions, as the owner. Needs no SPI connection. */
extern void emk_event_decide(const EmkDecision *d, int n, TimestampTz now);

/*
 * A table that append.c and rewrite.c write without a statement: the types of its columns in order, how a row of the caller
 * becomes one of the table, and, where the caller wants to know, where it was put.
 */
typedef struct EmkSink
{
	const char *relname;
	int			natts;
	const Oid  *types;
	void		(*form) (const void *rows, int i, Datum *values, bool *isnull);
	void		(*placed) (const void *rows, int i, ItemPointer tid);	/* or NULL */
	bool		generated;		/* the caller gives the values of generated columns too */
	Oid			relid;			/* InvalidOid: to be looked up */
	bool		listed;			/* `next` is in use: the relcache callback knows it */
	struct EmkSink *next;
} EmkSink;

/*
 * Writes rows as the owner, with the executor's own calls; returns how many. Fewer than n means that the rest must go through a
 * statement, because something (a trigger, a policy, a column of somebody else) lies in the way.
 */
extern int	emk_event_write(EmkSink *sink, const void *rows, int n);
/* Runs a plan whose arguments are the columns of the rows as arrays; opens its own SPI connection. */
extern void emk_event_run_arrays(EmkPlan *plan, const EmkSink *sink, const void *rows, int n);

/*
 * rewrite.c: changes rows of a table of a sink where they lie. edit() is given the row as it is now and changes its columns, or
 * says no: then the row stays as it is. done[i] says that row i was changed; tids[i] is then where its new version lies. What is
 * not done (somebody changed or moved the row meanwhile, or something lies in the way of plain writing) is left to a
 * statement of the caller, which looks the row up by its key. Returns how many were changed.
 */
typedef bool (*EmkEdit) (void *rows, int i, Datum *values, bool *isnull);
extern int	emk_event_rewrite(EmkSink *sink, ItemPointer *tids, int n, EmkEdit edit, void *rows, bool *done);

/*
 * Makes the partitions of event and decision that cover [from, to) in the period of setting `partition_period` (week);
 * existing ones are left alone. Returns how many were made. Inside an open SPI connection, as the owner.
 */
extern int	emk_event_make_partitions(TimestampTz from, TimestampTz to);
/* Drops partitions wholly older than the setting `retention`, and message keys older than `dedupe_window`. */
extern int	emk_event_drop_old(TimestampTz now);
/* What is older may be forgotten: the clock less the setting `retention`; DT_NOBEGIN: nothing is. */
extern TimestampTz emk_event_retention(TimestampTz now);

#endif
