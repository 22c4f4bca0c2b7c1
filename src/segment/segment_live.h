/*
 * segment_live.h: between the files of live membership: segment_load.c reads definitions, segment_eval.c decides, segment_listen.c
 * says what matters, segment_history.c reads what people did, segment_mark.c remembers what need not be read, segment_then.c
 * answers for times past, segment_turn.c keeps the tables, segment_fill.c fills new ones, segment_track.c has the SQL functions.
 *
 * Words
 *   tracked    its members are kept: rows of eventmkt_data.membership
 *   base       a segment of traits or behaviour; what happens matters to bases, and through them to tracked segments (`users`)
 *   code       why something matters to a base: EMK_LISTEN_…
 *   change     the next moment at which time alone can change an answer
 */
#ifndef EMK_SEGMENT_LIVE_H
#define EMK_SEGMENT_LIVE_H

#include "rule/rule.h"
#include "segment/segment_int.h"

/*
 * What an event can do to the answer of a base. The id in rule_event is -(step << 27 | segment_id * 4 + code): step counts the steps of
 * an order from 1; 0: it is none of the first 15, or none at all.
 */
#define EMK_LISTEN_KNOWN	0	/* somebody of whom nothing was known before */
#define EMK_LISTEN_ENTER	1	/* can only bring people in */
#define EMK_LISTEN_LEAVE	2	/* can only take people out */
#define EMK_LISTEN_ANY		3	/* both: traits */
#define EMK_LISTEN_CODES	4
#define EMK_LISTEN_STEP_BITS	27
#define EMK_LISTEN_STEPS	15
#define EMK_LISTEN_ID(id, code, step) \
	(((step) <= EMK_LISTEN_STEPS ? (step) << EMK_LISTEN_STEP_BITS : 0) + (id) * EMK_LISTEN_CODES + (code))

/* … and to a tracked segment: bits */
#define EMK_WEIGH_ENTER		1
#define EMK_WEIGH_LEAVE		2
#define EMK_WEIGH_ASK		4	/* whatever is remembered */
/* Engine-internal names, which nobody sees: they run through the same index as events. Segment 0 stands for all tracked ones. */
#define EMK_PROFILE_MADE	"eventmkt: profile made"
#define EMK_PROFILE_MERGED	"eventmkt: profiles merged"

typedef struct EmkLive EmkLive;

typedef struct EmkLiveUse
{
	EmkLive    *of;				/* tracked */
	int			ways;			/* 1: what brings people in here does so there; 2: it takes them out there; 3: both */
} EmkLiveUse;

/* A segment that is tracked, or that a tracked one is made of. Owned by the cache: valid to the end of the transaction. */
struct EmkLive
{
	int32		id;
	bool		tracked;
	EmkSegmentSpec spec;
	bool		takes_unknown;	/* people without a profile row can be in it */
	bool		any_event;		/* … and any event of theirs makes them so */
	int			nkids[3];		/* all_of, any_of, none_of */
	EmkLive   **kids[3];
	int			nusers;
	EmkLiveUse *users;			/* itself too, if tracked */
	/* what it needs to be decided, its parts included */
	int			nnames;
	char	  **names;
	bool		all_names;
	bool		properties;		/* of events */
	bool		history;		/* any events at all */
	bool		unknown;		/* takes_unknown, or a part does */
	bool		unknown_any;	/* any_event, or a part */
	bool		filling;		/* as of this turn */
};

/* Forgets what has changed; then all, by id. Inside SPI, as the owner. */
extern void emk_live_refresh(void);
extern EmkLive **emk_live_all(int *n);
extern int	emk_live_tracked(void);
extern EmkLive *emk_live_find(int32 id);	/* or NULL */
/* One that need not be tracked, nor be part of one that is; NULL: there is none. Refreshes. */
extern EmkLive *emk_live_want(int32 id);
extern void emk_live_init(void);

/* One event of a person; strings and properties live as long as the person. */
typedef struct EmkPast
{
	TimestampTz at;
	const char *name;
	Jsonb	   *properties;		/* NULL: not needed */
	bool		app;			/* an event of the app */
	bool		own;			/* under the canonical id itself */
} EmkPast;

typedef struct EmkPerson
{
	const char *id;				/* canonical, or merged away */
	bool		gone;			/* merged away: in nothing */
	bool		has_row;
	bool		seen;			/* has an event under the canonical id; only looked at without a row */
	Jsonb	   *traits;
	int			n;
	EmkPast    *past;			/* by time, oldest first */
} EmkPerson;

typedef struct EmkAnswer
{
	bool		in;
	TimestampTz change;			/* DT_NOEND: never; it may be early, never late */
} EmkAnswer;

/* What keeps somebody out who is out, whatever comes that can only bring people in: see segment_mark.c */
typedef struct EmkBars
{
	bool		never;			/* no event will do */
	bool		absent;			/* not before `change` of the answer */
	int32		need;			/* so many more events of the count */
	uint16		missing;		/* steps that have not happened: 1 << step */
} EmkBars;

/* Pure but for the time limit of cold conditions. The same answer as the view gives at `now`. */
extern EmkAnswer emk_live_decide(const EmkLive *s, const EmkPerson *who, TimestampTz now);
/* As pure; of somebody who is out at `now`. */
extern void emk_live_find_bars(const EmkLive *s, const EmkPerson *who, TimestampTz now, EmkBars *bars);
/* The number, from 1, of the first step of the name that step k, from 0, has. */
extern int	emk_live_step(const EmkSegmentSpec *spec, int k);
/* The start of what must be read to decide it at `now`; DT_NOBEGIN: everything. */
extern TimestampTz emk_live_since(const EmkLive *s, TimestampTz now);

/* One person and tracked segment to be weighed. */
typedef struct EmkPair
{
	char	   *profile_id;
	EmkLive    *s;
	int			code;			/* EMK_WEIGH_… */
	int			hits;			/* events that a count may count */
	uint32		steps;			/* which steps have happened: 1 << step */
	int			depth;
	bool		quiet;
	bool		gone;			/* the profile was merged away */
	bool		kin;			/* somebody who was merged into it is in: no news if it is in now */
	bool		was;
	TimestampTz wake;			/* of its timer, 0: none */
	bool		asked;			/* the answer is there */
	EmkAnswer	answer;
	EmkBars		bars;			/* of who is out and was asked */
} EmkPair;

/* Fills `answer` of the pairs that are `asked`, sorted by profile. Reads the history. */
extern void emk_live_answer(EmkPair *pairs, int n, TimestampTz now);

/* Weighs and stores; returns nothing. Pairs are sorted and made one a person and segment. Under the turn's lock. */
extern void emk_live_weigh(EmkPair *pairs, int n, TimestampTz now);

/*
 * Marks. begin: once a turn, under its lock. settles: what came changes nothing of this person and segment; it is taken note of. put: after
 * the tables say what the pair does. forget: all.
 */
extern void emk_live_marks_init(void);
extern void emk_live_marks_begin(TimestampTz now);
extern bool emk_live_mark_settles(const EmkPair *p, TimestampTz now);
extern void emk_live_mark_put(const EmkPair *p);
extern void emk_live_marks_forget(void);

/*
 * One chunk of filling; returns profiles looked at, 0 when nothing is to be filled, or nothing can be yet (*wait: come again soon). Under
 * the turn's lock.
 */
extern int	emk_live_fill(TimestampTz now, bool *wait);
extern void emk_live_fill_init(void);

/* Rewrites what the matcher knows of segments. Inside SPI, as the owner. */
extern void emk_live_listen(void);

/* The lock that makes turns and changes of definitions come one after another; to the end of the transaction. */
extern bool emk_live_lock(bool wait);
/* Gives it back before; only where nothing was changed since. */
extern void emk_live_unlock(void);

#endif
