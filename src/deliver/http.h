/*
 * http.h: HTTP requests, many at once, for the worker only. A request lives in a numbered slot from emk_http_submit() until
 * its answer has been taken. Part of deliver.h.
 */
#ifndef EMK_DELIVER_HTTP_H
#define EMK_DELIVER_HTTP_H

#include "base/base.h"

#define EMK_SIGNATURES_BYTES	(4 * 48 + 1)	/* EMK_SECRETS_MAX signatures, a space between, a NUL */

/* Where the requests of an endpoint go. Made with malloc, counted references: a transfer keeps what it started with. */
typedef struct EmkTarget EmkTarget;
typedef struct EmkTargetSpec
{
	const char *url;
	const char *method;
	int			timeout_ms;
	int			nheaders;
	char	  **headers;		/* `Name: value` */
} EmkTargetSpec;
extern EmkTarget *emk_http_target(const EmkTargetSpec *spec);	/* ERROR when out of memory */
extern void emk_http_release(EmkTarget *target);

typedef struct EmkRequest
{
	EmkTarget  *target;
	char		id[40];
	int64		timestamp;		/* seconds, real time */
	char		signatures[EMK_SIGNATURES_BYTES];
	const char *body;			/* stays with the caller until the answer is taken */
	size_t		length;
} EmkRequest;

typedef struct EmkAnswer
{
	int			slot;
	int			status;			/* 0: no answer came */
	int64		latency_us;
	bool		resolved;		/* the name was resolved, or a kept connection used */
	char		error[256];		/* '' when an answer came */
	char		retry_after[64];
	int			nexcerpt;
	char		excerpt[EMK_MAX_EXCERPT_BYTES];	/* raw bytes; see emk_http_excerpt() */
} EmkAnswer;

typedef enum EmkWoke
{
	EMK_WOKE_TIMEOUT,
	EMK_WOKE_LATCH,
	EMK_WOKE_SOCKET
} EmkWoke;

/* Starts the engine; returns how many requests can be open at once. */
extern int	emk_http_start(void);
extern void emk_http_stop(void);
/* Begins a request in a free slot, 0 … the number returned by emk_http_start() - 1. False: out of memory or descriptors. */
extern bool emk_http_submit(int slot, const EmkRequest *request);
/* Works on what is ready, without waiting. */
extern void emk_http_drive(void);
/* The next finished request, or NULL; valid until its slot is used again. */
extern const EmkAnswer *emk_http_answer(void);
/* Has the request left the stage of looking up its host's name? */
extern bool emk_http_resolved(int slot);
/* Threads that look up names, also for requests that were given up; -1: the system does not say. */
extern int	emk_http_lookups(void);
/* Has any request left that stage since the last call? */
extern bool emk_http_take_resolved(void);
/* Sleeps on sockets, latch, postmaster death and time. Does not reset the latch. */
extern EmkWoke emk_http_wait(long timeout_ms);
/* The start of the answer as text of the database encoding without control characters; palloc'd, NULL when empty. */
extern char *emk_http_excerpt(const EmkAnswer *answer);

#endif
