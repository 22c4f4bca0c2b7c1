/*
 * life.h: private to the worker layer: what launcher, probe, workers, hook and control share.
 */
#ifndef EMK_WORKER_LIFE_H
#define EMK_WORKER_LIFE_H

#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/lwlock.h"
#include "worker/worker.h"

#define EMK_LAUNCHER_TYPE	"eventmkt launcher"
#define EMK_WORKER_TYPE		"eventmkt worker"
#define EMK_PROBE_TYPE		"eventmkt probe"
#define EMK_ANNOUNCEMENTS	32
#define EMK_REPLACE_SIGNAL	SIGCHLD	/* to a lone launcher, which has no children; one that came before this signal takes no notice */
#define EMK_BLOCKS			16
#define EMK_BACKOFF_MAX		(60 * USECS_PER_SEC)
#define EMK_HEALTHY_RUN		(10 * USECS_PER_SEC)
#define EMK_RETIRE_LIMIT	USECS_PER_SEC	/* who was told to finish and has not ended by then is cut */
#define EMK_LIVES			64	/* so many that were replaced while they were frozen may hold the lock of a slot beside its worker */

typedef enum EmkSlotState
{
	EMK_SLOT_FREE,
	EMK_SLOT_STARTING,			/* asked for by the launcher; the process has not come up yet */
	EMK_SLOT_RUNNING			/* pid and procno are those of a living process */
} EmkSlotState;

/* One worker of one database. All fields under EmkShared.lock, but `wake`, `heartbeat` and `turns_by`. */
typedef struct EmkSlot
{
	EmkSlotState state;
	uint32		ticket;			/* of the last start asked for: a process with an older one leaves */
	int			pid;
	int			procno;
	int			fails;			/* runs in a row that ended soon and by themselves */
	int			crashes;		/* the same, for those that took the server down; kept over its restart */
	volatile bool quit;			/* told to quit because another process crashed; the worker sets it without the lock */
	int64		since;			/* monotonic: start asked for, or running since */
	int64		next_start;		/* monotonic */
	int64		retire_since;	/* monotonic: told to finish and end; 0: not. The worker reads it without the lock. */
	int			replaced;		/* pid: the last process that start_worker() found frozen here; 0: none */
	bool		forget;			/* the launcher's handle is of that process: it is to be dropped */
	TimestampTz started_at;
	pg_atomic_uint64 turns_by;	/* monotonic: it turns again by then, or is busy, stopped or stuck; written by the worker alone */
	pg_atomic_uint64 heartbeat; /* real time; written by the worker alone */
	pg_atomic_uint32 wake;		/* somebody asked for a scan; set by committing backends, cleared by the worker */
} EmkSlot;

/* A database with workers, or one whose workers are not wanted. All under EmkShared.lock. */
typedef struct EmkDatabase
{
	Oid			db;				/* InvalidOid: this entry is free */
	Oid			owner;			/* who the workers connect as */
	bool		present;		/* the last probe found the extension and its tables */
	bool		stopped;		/* stop_worker() was called */
	bool		recheck;		/* a worker ended: probe before the next start */
	int			nslots;			/* how many slots the running workers were told of */
	EmkSlot		slots[EMK_MAX_WORKERS];
} EmkDatabase;

typedef struct EmkShared
{
	LWLock	   *lock;			/* set at creation */
	int			launcher_pid;	/* under lock; 0: none */
	int			launcher_procno;
	bool		starved;		/* the last start failed for want of a free worker slot */
	pg_atomic_uint32 rescan;	/* look at every database */
	pg_atomic_uint32 announced[EMK_ANNOUNCEMENTS];	/* databases to probe now; 0: free */
	struct
	{
		Oid			db;
		int64		until;		/* monotonic */
	}			blocks[EMK_BLOCKS]; /* databases to be left alone; under lock */
	struct						/* the one probe at a time; under lock */
	{
		Oid			db;
		uint32		ticket;
		bool		done;
		bool		present;
		Oid			owner;
	}			probe;
	EmkDatabase dbs[EMK_MAX_DATABASES];
} EmkShared;

/* What a worker, a probe or a lone launcher is told at its start (bgw_extra). New fields at the end: a launcher may outlive an upgrade. */
typedef struct EmkStart
{
	Oid			db;
	Oid			owner;
	int			entry;			/* of EmkShared.dbs; -1: not preloaded */
	int			slot;
	int			nslots;
	uint32		ticket;
	uint32		board;			/* not preloaded: dsm segment that holds an EmkBoard */
	int			replaces;		/* pid: a process that was frozen in this slot; it is revoked first. 0: none */
} EmkStart;

/*
 * Not preloaded: what a lone launcher and its workers tell each other; one writer a field, so no lock. A process that is not pid[] of
 * its slot was replaced and writes no more. New fields at the end, as above.
 */
typedef struct EmkBoard
{
	volatile char ended[EMK_MAX_WORKERS];	/* by the worker at its end: it was told to end */
	volatile char retire[EMK_MAX_WORKERS];	/* by the launcher: the SIGTERM that comes means finish, then end */
	volatile int pid[EMK_MAX_WORKERS];	/* by the worker that is in the slot */
	pg_atomic_uint64 turns_by[EMK_MAX_WORKERS]; /* by the worker: see EmkSlot */
} EmkBoard;

/* NULL when the library was not preloaded */
extern EmkShared *emk_worker_shared;
extern int	emk_guc_workers;
extern int	emk_guc_frozen_after;	/* milliseconds */

/* worker_state.c */
extern void emk_worker_init_state(void);
extern EmkDatabase *emk_worker_entry(Oid db, bool make);	/* caller holds the lock */
extern void emk_worker_tell_launcher(void);
extern void emk_worker_announce_database(Oid db);
extern bool emk_worker_is_blocked(Oid db);	/* caller holds the lock */
extern void emk_worker_signal(EmkDatabase *d, int signo);	/* every running worker; caller holds the lock */
extern void emk_worker_retire(EmkDatabase *d);	/* the same, gently; to be called again and again; caller holds the lock */
extern bool emk_worker_all_free(EmkDatabase *d);	/* caller holds the lock */

/* survive.c */
extern void emk_worker_survive(void);	/* in startup_shmem(), when the memory is new: takes over what the last one knew */

/* launcher.c */
extern void emk_worker_describe(BackgroundWorker *w, const char *type, const char *function, const EmkStart *start);
extern int64 emk_worker_backoff(int fails);
extern bool emk_worker_is_frozen(pg_atomic_uint64 *turns_by);	/* late by eventmkt.frozen_after */

/* hook.c */
extern void emk_worker_init_hook(void);

/* control.c */
extern int	emk_worker_find(const char *type, Oid db, int *pids, int max);
extern void emk_worker_init_solo_wake(void);

#endif
