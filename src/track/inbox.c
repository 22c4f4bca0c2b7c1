/*
 * inbox.c: COPY eventmkt_data.inbox, and INSERT into it. The view's row trigger gathers, a full buffer or the statement
 * trigger flushes through emk_track_many(). A buffer lives in a context below the transaction's and belongs to the
 * (sub)transaction that fills it: it is forgotten when that aborts. A statement on the inbox may run inside another (a function
 * called for each row), in a subtransaction of its own: then it has a buffer of its own, on top of the other's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "track/track.h"
#include "track/track_int.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define INBOX_ROWS 2000
#define INBOX_BYTES (8 * 1024 * 1024)

typedef struct Inbox
{
	MemoryContext context;		/* NULL: empty */
	SubTransactionId subxact;
	int			n;
	Size		bytes;
	EmkMessage *messages;
	struct Inbox *below;		/* of an outer subtransaction; lives in this one's context */
} Inbox;

static Inbox inbox;

/* Forgets the buffer on top; the one below it is on top again. */
static void
drop_buffer(void)
{
	MemoryContext context = inbox.context;

	if (inbox.below != NULL)
		inbox = *inbox.below;
	else
		memset(&inbox, 0, sizeof(inbox));
	MemoryContextDelete(context);
}

static void
at_xact_end(XactEvent event, void *arg)
{
	memset(&inbox, 0, sizeof(inbox));	/* its context went with the transaction */
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (inbox.context != NULL && inbox.subxact == mine)
			drop_buffer();
	else if (event == SUBXACT_EVENT_COMMIT_SUB && inbox.context != NULL && inbox.subxact == mine)
		inbox.subxact = parent;
}

void
emk_track_init_inbox(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

/* Stores what this subtransaction has gathered. */
static void
flush(void)
{
	Inbox		full = inbox;

	if (full.context == NULL || full.subxact != GetCurrentSubTransactionId())
		return;
	if (full.below != NULL)
		inbox = *full.below;
	else
		memset(&inbox, 0, sizeof(inbox));
	emk_track_many(full.messages, full.n);
	MemoryContextDelete(full.context);
}

static void
begin_buffer(void)
{
	Inbox		below = inbox;

	memset(&inbox, 0, sizeof(inbox));
	inbox.context = AllocSetContextCreate(TopTransactionContext, "eventmkt inbox", ALLOCSET_DEFAULT_SIZES);
	inbox.subxact = GetCurrentSubTransactionId();
	inbox.messages = MemoryContextAlloc(inbox.context, sizeof(EmkMessage) * INBOX_ROWS);
	if (below.context != NULL)
	{
		inbox.below = MemoryContextAlloc(inbox.context, sizeof(Inbox));
		*inbox.below = below;
	}
}

static char *
column_text(HeapTuple tuple, TupleDesc desc, int col)
{
	bool		isnull;
	Datum		d = heap_getattr(tuple, col, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(d);
}

static void
gather(HeapTuple tuple, TupleDesc desc)
{
	MemoryContext old;
	EmkMessage *m;
	bool		isnull;
	Datum		d;

	if (inbox.context == NULL || inbox.subxact != GetCurrentSubTransactionId())
		begin_buffer();
	old = MemoryContextSwitchTo(inbox.context);
	m = &inbox.messages[inbox.n];
	memset(m, 0, sizeof(*m));
	m->user_id = column_text(tuple, desc, 1);
	m->anonymous_id = column_text(tuple, desc, 2);
	m->event = column_text(tuple, desc, 3);
	d = heap_getattr(tuple, 4, desc, &isnull);
	m->properties = isnull ? NULL : DatumGetJsonbPCopy(d);
	d = heap_getattr(tuple, 5, desc, &isnull);
	m->occurred_at = isnull ? DT_NOBEGIN : emk_track_given_time(DatumGetTimestampTz(d));
	m->message_id = column_text(tuple, desc, 6);
	MemoryContextSwitchTo(old);
	inbox.n++;
	inbox.bytes += tuple->t_len;
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, bool row)
{
	TriggerData *td = emk_base_trigger(fcinfo, "inbox", row, EMK_ON_INSERT);

	if (RelationGetDescr(td->tg_relation)->natts != 6)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventmkt_data.inbox has other columns than it should")));
	return td;
}

PG_FUNCTION_INFO_V1(emk_track_inbox_gather);
/* eventmkt.inbox_gather(): INSTEAD OF INSERT row trigger of the inbox */
Datum
emk_track_inbox_gather(PG_FUNCTION_ARGS)
{
	TriggerData *td = trigger_data(fcinfo, true);

	if (inbox.n == INBOX_ROWS || inbox.bytes > INBOX_BYTES)
		flush();
	gather(td->tg_trigtuple, RelationGetDescr(td->tg_relation));
	return PointerGetDatum(td->tg_trigtuple);
}

PG_FUNCTION_INFO_V1(emk_track_inbox_flush);
/* eventmkt.inbox_flush(): AFTER INSERT statement trigger of the inbox */
Datum
emk_track_inbox_flush(PG_FUNCTION_ARGS)
{
	trigger_data(fcinfo, false);
	flush();
	return PointerGetDatum(NULL);
}
