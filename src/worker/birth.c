/*
 * birth.c: claim at birth. A due run whose endpoint is free is inserted in flight, in the transaction that decides it, and sent
 * right after the commit: no second transaction claims it. A place is reserved first (emk_send_reserve), the row is inserted with
 * our lease, then a slot takes a copy of it (emk_send_adopt). The slot's fate is that of the transaction, of a subtransaction too.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "worker/send_int.h"

static int	reserved_total = 0;
static int	adopted_count = 0;	/* slots whose rows were born in flight, until emk_birth_take() */

bool
emk_send_reserve(int32 endpoint_id)
{
	EmkPeer    *p;
	int64		mono;
	int64		when = PG_INT64_MAX;
	int			encoding = GetDatabaseEncoding();

	if (emk_send_epoch == 0 || !emk_guc_enabled || !emk_setting_is_home() ||
		(encoding != PG_UTF8 && encoding != PG_SQL_ASCII) || emk_send_free_total() <= 0)
		return false;
	emk_peer_refresh();
	p = emk_peer_find(endpoint_id);
	mono = emk_clock_monotonic();
	/* those that wait already go first; whose turn it is at an ordered endpoint is asked by the claim */
	if (p == NULL || p->maybe || p->ordered || emk_peer_capacity(p, emk_clock_now(), mono, &when) <= 0)
	{
		if (p != NULL)
			p->maybe = true;
		return false;
	}
	emk_peer_spend(p, 1);
	if (emk_peer_is_cold(p, mono))
		emk_send_add_lookup();
	p->reserved++;
	reserved_total++;
	return true;
}

static void
drop_reservations(void)
{
	for (int i = 0; reserved_total > 0 && i < emk_peer_count; i++)
	{
		reserved_total -= emk_peers[i]->reserved;
		emk_peers[i]->reserved = 0;
	}
	reserved_total = 0;
}

/* A slot with a copy of the row, which was inserted in flight. */
static void
adopt(const EmkOutbox *r, EmkPeer *p)
{
	EmkSend    *s = emk_send_take_slot(p);
	MemoryContext before;

	if (s == NULL)
		elog(ERROR, "a delivery that was claimed at birth has no slot");
	before = MemoryContextSwitchTo(s->context);
	s->born_in = GetCurrentSubTransactionId();
	s->id = r->id;
	s->tid = r->tid;
	s->run_id = r->run_id;
	s->rule_id = r->rule_id;
	s->rule_version = r->rule_version;
	s->rule = pstrdup(r->rule);
	s->profile_id = pstrdup(r->profile_id);
	s->key = pstrdup(r->key);
	s->body = pstrdup(r->body);
	s->length = strlen(s->body);
	s->event_id = r->event_id;
	s->started_at = r->started_at;
	s->due_at = r->due_at;
	s->depth = r->depth;
	s->attempts = 1;
	s->nschedule = p->nschedule;
	s->schedule = palloc(sizeof(int32) * Max(p->nschedule, 1));
	memcpy(s->schedule, p->schedule, sizeof(int32) * p->nschedule);
	s->again = s->was_delivered = false;
	MemoryContextSwitchTo(before);
	adopted_count++;
}

void
emk_send_adopt(const EmkOutbox *rows, int n)
{
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		EmkPeer    *p = rows[i].in_flight ? emk_peer_find(rows[i].endpoint_id) : NULL;

		if (p == NULL)
			continue;
		adopt(&rows[i], p);
		if (p->reserved > 0)
		{
			p->reserved--;
			reserved_total--;
		}
		any = true;
	}
	if (any)
		emk_lease_write();
}

/* The fate of adopted deliveries is that of the transaction that inserted them. */
static void
at_xact_end(XactEvent event, void *arg)
{
	bool		commit = event == XACT_EVENT_COMMIT;

	if (adopted_count == 0 || (!commit && event != XACT_EVENT_ABORT))
		return;
	for (int i = 0; i < emk_send_nslots; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state != EMK_SEND_CLAIMED || s->born_in == InvalidSubTransactionId)
			continue;
		s->born_in = InvalidSubTransactionId;
		if (commit)
			continue;			/* counted until emk_birth_take(), whatever becomes of later transactions */
		emk_send_free_slot(s);
		adopted_count--;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (adopted_count == 0 || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	for (int i = 0; i < emk_send_nslots; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state != EMK_SEND_CLAIMED || s->born_in != mine)
			continue;
		s->born_in = parent;
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			emk_send_free_slot(s);
			adopted_count--;
		}
	}
}

int
emk_birth_count(void)
{
	return reserved_total + adopted_count;
}

bool
emk_birth_take(void)
{
	bool		any = adopted_count > 0;

	drop_reservations();
	adopted_count = 0;
	return any;
}

void
emk_birth_init(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
	registered = true;
}
