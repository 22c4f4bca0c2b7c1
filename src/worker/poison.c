/*
 * poison.c: a row that raises an error must not stop the others (A34). Settling and claiming write tables that a DBA may have
 * hung triggers and constraints on, or locked a row of for long; what is refused is found by halving the batch, and set aside:
 *
 *   settling   the answered delivery keeps its slot, but not its endpoint's, and is tried again alone, after 0.4 s, 1.6 s … 60 s
 *   claiming   the row is left out of the next scans for as long; its id is remembered here
 *   lost       rows of a dead epoch are taken in random order while batches are small, so one of them stops no other
 *
 * A row set aside is never given up: its result is not lost, and once the obstacle is gone it ends as any other. Until then
 * health() shows how many there are and the last error, from the setting `settle_error`. Faults of the server never come here, but
 * a row lock that outlasts lock_timeout does.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "worker/send_int.h"

#define SETTLE_AT_MOST	256
#define LOST_AT_MOST	10000
#define SKIPS			256			/* rows that claiming leaves out; the oldest is forgotten first */
#define FIRST_PAUSE		(USECS_PER_SEC / 10)
#define LONGEST_PAUSE	(60 * USECS_PER_SEC)
#define WRITE_EVERY		(10 * USECS_PER_SEC)

typedef struct Skip
{
	pg_uuid_t	id;
	int			strikes;		/* 0: free */
	int64		until;			/* monotonic */
} Skip;

static const int most[] = {SETTLE_AT_MOST, INT_MAX / 2, LOST_AT_MOST};
static int	limits[] = {SETTLE_AT_MOST, INT_MAX / 2, LOST_AT_MOST};
static Skip skips[SKIPS];
static bool any_skip = false;
static int	aside = 0;
static int64 next_aside = PG_INT64_MAX;
static bool alone_last = false; /* the last transaction was for one that had been set aside */
static char last_error[256];
static int	shown = 0;			/* what the setting says */
static int64 shown_at = 0;		/* monotonic */

static int64
pause_after(int strikes)
{
	return Min(LONGEST_PAUSE, FIRST_PAUSE << Min(2 * strikes, 20));
}

int
emk_poison_limit(EmkStage stage)
{
	return limits[stage];
}

void
emk_poison_worked(EmkStage stage)
{
	limits[stage] = limits[stage] >= most[stage] / 2 ? most[stage] : limits[stage] * 2;
	for (int i = 0; any_skip && stage == EMK_STAGE_CLAIM && i < emk_send_nslots; i++)
		for (int k = 0; emk_send_slots[i].state == EMK_SEND_CLAIMED && k < SKIPS; k++)
			if (skips[k].strikes > 0 && memcmp(&skips[k].id, &emk_send_slots[i].id, sizeof(pg_uuid_t)) == 0)
				skips[k].strikes = 0;
}

/* Counts the slots that wait aside. */
static void
survey(void)
{
	aside = 0;
	next_aside = PG_INT64_MAX;
	for (int i = 0; i < emk_send_nslots; i++)
		if (emk_send_slots[i].state == EMK_SEND_DONE && emk_send_slots[i].strikes > 0)
		{
			aside++;
			next_aside = Min(next_aside, emk_send_slots[i].not_before);
		}
}

int
emk_poison_aside(void)
{
	if (aside > 0)
		survey();
	return aside;
}

int64
emk_poison_next(void)
{
	if (aside > 0)
		survey();
	return next_aside;
}

int
emk_poison_pick(EmkSend **sends, int64 mono)
{
	EmkSend    *ripe = NULL;
	int			n = 0;

	for (int i = 0; i < emk_send_nslots && n < limits[EMK_STAGE_SETTLE]; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		s->picked = false;
		if (s->state == EMK_SEND_DONE && s->strikes == 0)
			sends[n++] = s;
		else if (s->state == EMK_SEND_DONE && s->not_before <= mono && ripe == NULL)
			ripe = s;
	}
	alone_last = ripe != NULL && (n == 0 || !alone_last);
	if (alone_last)
	{
		sends[0] = ripe;
		n = 1;
	}
	for (int i = 0; i < n; i++)
		sends[i]->picked = true;
	return n;
}

static void
skip(const pg_uuid_t *id, int64 mono)
{
	Skip	   *s = &skips[0];

	for (int i = 0; i < SKIPS; i++)
	{
		if (skips[i].strikes > 0 && memcmp(&skips[i].id, id, sizeof(*id)) == 0)
		{
			s = &skips[i];
			break;
		}
		if (skips[i].strikes == 0 || skips[i].until < s->until)
			s = &skips[i];
	}
	if (memcmp(&s->id, id, sizeof(*id)) != 0)
		s->strikes = 0;
	s->id = *id;
	s->strikes++;
	s->until = mono + pause_after(s->strikes);
	any_skip = true;
}

Datum
emk_poison_skip(int64 mono)
{
	Datum		ids[SKIPS];
	int			n = 0;
	bool		any = false;

	for (int i = 0; any_skip && i < SKIPS; i++)
	{
		Skip	   *s = &skips[i];

		if (s->strikes > 0 && s->until + LONGEST_PAUSE < mono)
			s->strikes = 0;		/* it has gone another way */
		any |= s->strikes > 0;
		if (s->strikes > 0 && s->until > mono)
			ids[n++] = UUIDPGetDatum(&s->id);
	}
	any_skip = any;
	return emk_spi_array(ids, NULL, n, UUIDOID);
}

static int
count_skips(void)
{
	int			n = 0;

	for (int i = 0; any_skip && i < SKIPS; i++)
		n += skips[i].strikes > 0;
	return n;
}

bool
emk_poison_failed(EmkStage stage, const char *error)
{
	int64		mono = emk_clock_monotonic();
	EmkSendState state = stage == EMK_STAGE_SETTLE ? EMK_SEND_DONE : EMK_SEND_CLAIMED;
	EmkSend    *one = NULL;
	int			n = 0;

	if (stage == EMK_STAGE_OTHER)
		return false;
	strlcpy(last_error, error, sizeof(last_error));
	if (stage == EMK_STAGE_LOST)
	{
		limits[stage] = Max(1, Min(limits[stage], 1024) / 2);
		return true;
	}
	for (int i = 0; i < emk_send_nslots; i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state != state || (stage == EMK_STAGE_SETTLE && !s->picked))
			continue;
		s->picked = false;
		one = s;
		n++;
	}
	if (n == 0)
		return false;
	if (n > 1)
	{
		limits[stage] = n / 2;
		return true;
	}
	if (stage == EMK_STAGE_CLAIM)
		skip(&one->id, mono);
	else
	{
		if (one->strikes++ == 0)
		{
			one->peer->in_flight--;
			one->peer->aside++;
		}
		one->not_before = mono + pause_after(one->strikes);
		survey();
	}
	return true;
}

void
emk_poison_write(void)
{
	int64		mono = emk_clock_monotonic();
	int			n;

	n = emk_poison_aside() + count_skips();
	if (n == shown || (n > 0 && shown > 0 && mono - shown_at < WRITE_EVERY))
		return;
	emk_setting_put("settle_error", n == 0 ? NULL : psprintf("%d: %s", n, last_error));
	shown = n;
	shown_at = mono;
}

/* At the start of a worker's life: what an earlier one said is void. */
void
emk_poison_reset(void)
{
	memset(skips, 0, sizeof(skips));
	memcpy(limits, most, sizeof(limits));
	any_skip = alone_last = false;
	aside = 0;
	next_aside = PG_INT64_MAX;
	shown = emk_setting_get("settle_error") != NULL ? -1 : 0;
}
