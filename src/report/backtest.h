/*
 * backtest.h: what the files of the backtest share.
 *
 *   backtest.c       the SQL functions: which rules, which span, what is told of the rows
 *   backtest_read.c  reads the events that the rules care about, ordered by person and time, a chunk of people at a time
 *   backtest_sim.c   replays one rule over one person's events
 */
#ifndef EMK_BACKTEST_H
#define EMK_BACKTEST_H

#include "base/base.h"
#include "profile/profile.h"
#include "rule/rule.h"
#include "trigger/trigger.h"

/* One rule of a backtest */
typedef struct EmkTried
{
	const EmkRule *rule;
	TimestampTz since;			/* it is taken to have been made then: starts count from here */
} EmkTried;

/* One person: items and ids in event order; lives in the chunk's context */
typedef struct EmkPerson
{
	EmkItem    *items;
	int			n;
	int			nids;
	const char **ids;			/* ids[0] is canonical now */
	const char **before;		/* to whom each id belonged before the first merge; NULL: all to ids[0], always */
} EmkPerson;

/* A final decision of a run, or a run that waits at the end; decided_at DT_NOEND: it waits */
typedef void (*EmkBacktestRow) (void *arg, const EmkDecision *d, TimestampTz decided_at);

typedef struct EmkBacktest
{
	/* in */
	EmkTried   *tried;
	int			ntried;
	TimestampTz from;			/* what was decided before is not told */
	TimestampTz to;				/* the clock at the end */
	int64		every;			/* ask one person in `every` */
	EmkBacktestRow row;
	void	   *arg;
	/* out */
	int64		people;
	int64		events;
	/* of the chunk at work */
	EmkPast    *past;			/* NULL: no rule asks for traits */
} EmkBacktest;

/* Runs it. As the owner, inside an open SPI connection, with an active snapshot; writes nothing. */
extern void emk_report_backtest(EmkBacktest *b);
/* Replays one rule over one person; memory is the caller's to reset. */
extern void emk_report_simulate(EmkBacktest *b, const EmkTried *tried, EmkPerson *person);

#endif
