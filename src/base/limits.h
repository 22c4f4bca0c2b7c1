/*
 * limits.h: every limit of eventmkt, by name. Exceeding one is an error (54000 or 22023) that names it; nothing is
 * cut off silently. Lengths are in bytes of the database encoding unless a name says otherwise.
 */
#ifndef EMK_BASE_LIMITS_H
#define EMK_BASE_LIMITS_H

#define EMK_MAX_ID_BYTES			512			/* user id, anonymous id, alias, message id */
#define EMK_MAX_EVENT_NAME_BYTES	200
#define EMK_MAX_KEY_BYTES			512			/* the value of a rule's `per` property */
#define EMK_MAX_PROPERTIES_BYTES	(256 * 1024)	/* properties or traits of one call, as stored */
#define EMK_MAX_JSON_DEPTH			64
#define EMK_MAX_NAME_BYTES			63			/* rule and endpoint names */
#define EMK_MAX_SEGMENT_NAME_BYTES	55			/* with its prefix the name of a view */
#define EMK_MAX_TRACKED_ID			33554431	/* number of a segment whose members are tracked */
#define EMK_MAX_EXPOSED_EVENT_BYTES	57			/* an event with a view of its own: event_<name> */
#define EMK_MAX_FUNNEL_NAME_BYTES	56			/* funnel_<name> */
#define EMK_LOAD_TRIES				3			/* of a cache that an invalidation meets each time it is filled */
#define EMK_VIEW_WAIT_MS			10000		/* for readers of a view that is to be changed, without a lock_timeout */
#define EMK_MAX_RULES_PER_EVENT		1000		/* enabled rules that one value of one event may start or cancel */
#define EMK_MAX_BATCH_MESSAGES		100000		/* messages of one track_many() or ingest(batch) */
#define EMK_MAX_INTERVAL_DAYS		3660		/* after, within, look_back, reentry, max_lateness */
#define EMK_MAX_AT_LEAST			100000
#define EMK_MAX_UNLESS				100			/* cancelling event names of one rule */
#define EMK_MAX_CONDITION_BYTES		8192		/* a compiled condition */
#define EMK_MAX_RUN_STARTS			100			/* starting events that a run remembers: its first and its newest */
#define EMK_MAX_DEPTH				8			/* engine-made events caused by engine-made events */
#define EMK_PROFILE_BURST			1000		/* events of one profile and name that begin runs in a minute (setting profile_burst) */
#define EMK_MAX_PROFILE_BURST		1000000
#define EMK_MAX_FUTURE_SECONDS		3600		/* how far ahead of the clock an event may be stamped */
#define EMK_MAX_RESPONSE_BYTES		(64 * 1024)	/* read of an endpoint's answer */
#define EMK_MAX_EXCERPT_BYTES		1024		/* kept of an endpoint's answer */
#define EMK_MAX_HEADERS				16
#define EMK_MAX_HEADER_BYTES		4096
#define EMK_MAX_URL_BYTES			4096
#define EMK_MAX_ALIASES				10000		/* ids of one profile */
#define EMK_MAX_WORKERS				8			/* workers of one database */
#define EMK_MAX_DATABASES			128			/* databases of one server that have workers */
#define EMK_MAX_STATE_BYTES			(256 * 1024 * 1024)	/* aggregate state of one group */
#define EMK_MAX_TIMELINE_EVENTS		4000000		/* events of one timeline */
#define EMK_MAX_TAIL_BYTES			(24 * 1024 * 1024)	/* events not packed yet that a question over kept timelines holds in memory */
#define EMK_MAX_TIMELINE_NAMES		65535		/* different event names of one timeline */
#define EMK_MAX_PATTERN_BYTES		1000		/* sequence pattern */
#define EMK_MAX_ROLLUP_ITEMS		1000		/* different items of one roll-up: the most frequent are kept */
#define EMK_MAX_PERIODS				1000		/* periods of a retention question */

#endif
