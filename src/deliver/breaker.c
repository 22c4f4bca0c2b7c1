/*
 * breaker.c: the circuit breaker of one endpoint. Pure: state in, state out.
 *
 *   closed --EMK_BREAKER_FAILURES transient failures in a row--> open --open_until passes--> half open
 *   half open: one try at a time; its failure opens again, its success closes
 *
 * It stays open for 5 s, then for twice as long each time, up to 5 min, but, beyond 5 s, never for longer than an eighth of the time that
 * the endpoint has been failing: what was away for a minute is found again within ten seconds, what was away for hours is seldom asked.
 *
 * Times are business time, because the retry schedule is: an hour of failures under a moved clock looks like an hour. When
 * the clock was set back, an open_until that lies further ahead than any step is not believed.
 * A refusal (4xx) is a failure of the endpoint but no reason to stop asking: it shows somebody at home, so it closes.
 */
#include "postgres.h"

#include "deliver/deliver.h"
#include "utils/timestamp.h"

#define FIRST_STEP	(5 * USECS_PER_SEC)
#define LAST_STEP	(300 * USECS_PER_SEC)
#define SHARE		8

int
emk_breaker_allows(const EmkBreaker *b, TimestampTz now)
{
	if (b->open_until == 0)
		return PG_INT32_MAX;
	return b->open_until > now && b->open_until <= now + 2 * LAST_STEP ? 0 : 1;
}

bool
emk_breaker_success(EmkBreaker *b)
{
	bool		changed = b->open_until != 0;

	b->failures = 0;
	b->failing_since = 0;
	b->open_until = 0;
	return changed;
}

bool
emk_breaker_failure(EmkBreaker *b, bool transient, TimestampTz now, double spread)
{
	bool		was_open = b->open_until != 0;
	int64		step = FIRST_STEP;

	if (b->failing_since == 0)
		b->failing_since = now;
	/* the tries that were under way when it opened say nothing new */
	if (was_open && b->open_until > now && b->open_until <= now + 2 * LAST_STEP)
		return false;
	b->failures = Min(b->failures + 1, PG_INT32_MAX - 1);
	if (!transient)
	{
		b->open_until = 0;
		return was_open;
	}
	if (b->failures < EMK_BREAKER_FAILURES)
		return false;
	for (int i = EMK_BREAKER_FAILURES; i < b->failures && step < LAST_STEP; i++)
		step *= 2;
	step = Max(FIRST_STEP, Min(Min(step, LAST_STEP), (now - b->failing_since) / SHARE));
	b->open_until = now + (int64) (step * (0.9 + 0.2 * spread));
	return !was_open;
}

bool
emk_breaker_hopeless(const EmkBreaker *b, TimestampTz now, int64 limit)
{
	return b->failing_since != 0 && b->failures >= EMK_BREAKER_FAILURES && now - b->failing_since >= limit;
}
