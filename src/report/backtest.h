/*
 * backtest.h: what the files of the backtest share.
 *
 *   backtest.c       the SQL functions: which rules, which span, what is told of the rows
 *   backtest_read.c  reads the events that the rules care about, and packs them by person into parts
 *   backtest_part.c  puts a part in order and has it replayed
 *   backtest_sim.c   replays one rule over one person's events
 */
#ifndef EMK_BACKTEST_H
#define EMK_BACKTEST_H

#include "base/base.h"
#include "profile/profile.h"
#include "rule/rule.h"
#include "storage/buffile.h"
#include "trigger/trigger.h"

/* One rule of a backtest */
typedef struct EmkTried
{
	const EmkRule *rule;
	TimestampTz since;			/* it is taken to have been made then: starts count from here */
	bool	   *cares;			/* by number of an event name: does the rule name it? */
} EmkTried;

/* One person: items and ids in event order; lives in the chunk's context */
typedef struct EmkPerson
{
	uint64		hash;
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
	int64		told;			/* the monotonic clock when progress was told */
	/* of the chunk at work */
	EmkPast    *past;			/* NULL: no rule asks for traits */
} EmkBacktest;

/* Is it time to tell how far it is? Once in five seconds */
extern bool emk_report_backtest_tells(EmkBacktest *b);

/* An event between scan and replay: this, the canonical id, [the id it came with], [message id], properties; 8-byte aligned */
typedef struct EmkPacked
{
	uint32		size;			/* to the next one */
	uint32		name;			/* index into names[] */
	uint64		hash;			/* of the canonical id */
	TimestampTz occurred_at;
	TimestampTz received_at;
	int64		event_id;
	uint32		raw;			/* offsets; 0: none */
	uint32		message;
	uint32		properties;
	int32		depth;
} EmkPacked;

#define EMK_BACKTEST_PARTS 64

typedef struct EmkBacktestPart
{
	char	   *packed;			/* events in memory */
	Size		len;
	Size		room;
	BufFile    *file;			/* earlier ones; NULL: none */
	Size		written;
} EmkBacktestPart;

typedef struct EmkBacktestData
{
	EmkBacktestPart parts[EMK_BACKTEST_PARTS];
	int64		n;
	bool		aliases;		/* there are some at all */
	char	  **names;
	int			nnames;
	int			names_room;
} EmkBacktestData;

/*
 * Both inside an open SPI connection, as the owner, with an active snapshot; they write nothing. read: fills `data`, zeroed before,
 * in the current memory context. part: replays it all.
 */
extern void emk_report_backtest_read(EmkBacktest *b, EmkBacktestData *data);
extern void emk_report_backtest_part(EmkBacktest *b, EmkBacktestData *data);
/* Replays one rule over one person; memory is the caller's to reset. */
extern void emk_report_simulate(EmkBacktest *b, const EmkTried *tried, EmkPerson *person);

#endif
