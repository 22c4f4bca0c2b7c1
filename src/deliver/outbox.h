/*
 * outbox.h: the outbox, rows of `delivery` and of `attempt`: how they come, and how the worker changes them. Part of deliver.h.
 */
#ifndef EMK_DELIVER_OUTBOX_H
#define EMK_DELIVER_OUTBOX_H

#include "event/event.h"

typedef struct EmkOutbox
{
	pg_uuid_t	id;				/* set by emk_outbox_insert() */
	int64		run_id;
	int32		rule_id;
	const char *rule;
	int32		rule_version;
	const char *profile_id;
	const char *key;
	int32		endpoint_id;
	const char *body;			/* database encoding */
	int64		event_id;
	TimestampTz started_at;
	TimestampTz received_at;
	TimestampTz run_created_at;
	TimestampTz due_at;
	int			depth;
	int			priority;
	bool		in_flight;		/* claimed at birth, see emk_send_reserve() */
	ItemPointerData tid;		/* set by emk_outbox_insert(): where the row lies; invalid when that is not known */
} EmkOutbox;

/*
 * Inserts n deliveries, inside an open SPI connection, as the owner. Rows marked in_flight belong to `lease` and must be handed
 * to emk_send_adopt() after commit; the others wait in the queue, and the worker is woken at commit.
 */
extern void emk_outbox_insert(EmkOutbox *rows, int n, int64 lease, TimestampTz now);

/* ERROR 27000: a statement changed fewer rows of `delivery` than it names; what is not stored must not be sent. */
pg_noreturn extern void emk_outbox_suppressed(void);

/* The columns of `delivery`, for whoever changes rows where they lie */
enum
{
	EMK_DELIVERY_ID, EMK_DELIVERY_NODE, EMK_DELIVERY_RUN_ID, EMK_DELIVERY_RULE_ID, EMK_DELIVERY_RULE, EMK_DELIVERY_RULE_VERSION,
	EMK_DELIVERY_PROFILE_ID, EMK_DELIVERY_KEY, EMK_DELIVERY_ENDPOINT_ID, EMK_DELIVERY_STATUS, EMK_DELIVERY_ATTEMPTS,
	EMK_DELIVERY_NEXT_ATTEMPT_AT, EMK_DELIVERY_LEASE, EMK_DELIVERY_SCHEDULE, EMK_DELIVERY_BODY, EMK_DELIVERY_EVENT_ID,
	EMK_DELIVERY_STARTED_AT, EMK_DELIVERY_RECEIVED_AT, EMK_DELIVERY_RUN_CREATED_AT, EMK_DELIVERY_DUE_AT, EMK_DELIVERY_CREATED_AT,
	EMK_DELIVERY_FIRST_SENT_AT, EMK_DELIVERY_SETTLED_AT, EMK_DELIVERY_WAS, EMK_DELIVERY_DEPTH, EMK_DELIVERY_PRIORITY,
	EMK_DELIVERY_LAST_STATUS, EMK_DELIVERY_LAST_ERROR, EMK_DELIVERY_LATE_CANCEL, EMK_DELIVERY_COLUMNS
};
/* As emk_event_rewrite(), for rows of `delivery`. */
extern int	emk_outbox_rewrite(ItemPointer *tids, int n, EmkEdit edit, void *rows, bool *done);
/* Is the status of a row of `delivery` this one? */
extern bool emk_outbox_status_is(Datum status, const char *name);

/* What came of a try */
typedef struct EmkAttempt
{
	const pg_uuid_t *delivery_id;
	int			attempt;
	TimestampTz started_at;		/* real time */
	int64		latency_us;
	int			status;			/* 0: no answer came */
	const char *error;			/* or NULL */
	const char *response;		/* or NULL */
} EmkAttempt;
/* Stores n tries, as the owner. Needs no SPI connection. */
extern void emk_outbox_log(const EmkAttempt *tries, int n);

/* Cancels what waits for an endpoint that was dropped, with decisions; returns how many. Inside open SPI, as the owner. */
extern uint64 emk_outbox_cancel_endpoint(int32 endpoint_id, TimestampTz now);

/* A uuid of version 7: real time, then random bits. */
extern void emk_outbox_make_ids(pg_uuid_t *ids, int n, int stride);

#endif
