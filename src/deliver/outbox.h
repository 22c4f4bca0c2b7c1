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
	bool		in_flight;		/* claimed at birth, see emk_send_reserve(); never to an ordered endpoint */
	bool		ordered;		/* set by emk_outbox_insert(): its endpoint takes a person's messages in strict order */
	bool		behind;			/* … and one of the same batch goes before it */
	ItemPointerData tid;		/* set by emk_outbox_insert(): where the row lies; invalid when that is not known */
} EmkOutbox;

/*
 * Inserts n deliveries, inside an open SPI connection, as the owner. Rows marked in_flight belong to `lease` and must be handed
 * to emk_send_adopt() after commit; the others wait in the queue, and the worker is woken at commit.
 */
extern void emk_outbox_insert(EmkOutbox *rows, int n, int64 lease, TimestampTz now);

/*
 * How far the newest id lies ahead of the wall clock, in microseconds: by more than a moment when that was set back
 * since; negative otherwise, 0 when there is none. One probe of the primary key, inside open SPI.
 */
extern int64 emk_outbox_lead(void);

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
	EMK_DELIVERY_LAST_STATUS, EMK_DELIVERY_LAST_ERROR, EMK_DELIVERY_LATE_CANCEL, EMK_DELIVERY_ORDERED, EMK_DELIVERY_WAITING,
	EMK_DELIVERY_DIED_AT, EMK_DELIVERY_LANE, EMK_DELIVERY_COLUMNS
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

/* SQL: the head of the lane of a row `x` of `delivery`, read from the index delivery_lane; the row itself is `o` */
#define EMK_LANE_HEAD(columns, x) \
	"SELECT " columns " FROM eventmkt_data.delivery o WHERE o.endpoint_id OPERATOR(pg_catalog.=) " x ".endpoint_id " \
	"AND o.profile_id OPERATOR(pg_catalog.=) " x ".profile_id AND o.lane IS NOT NULL " \
	"AND o.node OPERATOR(pg_catalog.=) " x ".node ORDER BY o.lane, o.id LIMIT 1"
/*
 * lane.c: strict order by person. All inside open SPI, as the owner.
 *
 * switch: an endpoint becomes ordered, or is not any more: what waits for it is marked. park: up to `limit` of what is ready at
 * each endpoint, from its time `low` on, is looked at, and what is not the head of its lane is set behind it; how many. advance: these
 * deliveries have ended: the next of their lanes may go; returns how many may. heal: looks at up to `limit` lanes, in a round over
 * all, and lets heads go that nobody told so; returns how many.
 */
extern void emk_lane_switch(int32 endpoint_id, bool ordered, TimestampTz now);
extern uint64 emk_lane_park(const int32 *endpoints, const TimestampTz *lows, int n, int limit, TimestampTz now);
extern uint64 emk_lane_advance(const pg_uuid_t **ids, int n, TimestampTz now);
extern uint64 emk_lane_heal(int limit, TimestampTz now);
/* Of n rows with endpoints that are ordered: marks those that one before them in the batch goes before. */
extern void emk_lane_line_up(EmkOutbox **rows, int n);

#endif
