/*
 * deliver.h: from a row of the outbox to an answer. Signing, the retry schedule, URLs and addresses, the circuit breaker,
 * HTTP with libcurl, and the outbox itself. What decides is pure and takes its times as arguments; the worker drives.
 */
#ifndef EMK_DELIVER_H
#define EMK_DELIVER_H

#include "base/base.h"
#include "deliver/http.h"
#include "deliver/outbox.h"

extern void emk_deliver_init(void);

/* Settings: eventmkt.max_in_flight, eventmkt.allow_plain_http, eventmkt.ca_file */
extern int	emk_guc_max_in_flight;
extern bool emk_guc_allow_plain_http;
extern char *emk_guc_ca_file;

/* ---- sign.c: Standard Webhooks ---- */

#define EMK_SECRET_MIN_BYTES	24
#define EMK_SECRET_MAX_BYTES	64
#define EMK_SECRET_NEW_BYTES	32
#define EMK_SECRETS_MAX			4	/* signatures of one message while secrets are rotated */

typedef struct EmkSecret
{
	int			len;
	uint8		key[EMK_SECRET_MAX_BYTES];
	TimestampTz expires;		/* business time; DT_NOEND: the current secret */
} EmkSecret;

/* Decodes `whsec_…`; returns the number of bytes, or -1 when it is malformed or of a wrong length. */
extern int	emk_sign_parse_secret(const char *text, uint8 *key);
/* `whsec_…`, palloc'd */
extern char *emk_sign_show_secret(const uint8 *key, int len);
/* EMK_SECRET_NEW_BYTES fresh random bytes */
extern void emk_sign_make_secret(uint8 *key);
/*
 * Writes the value of webhook-signature, one `v1,…` for each secret that is valid at `now`, into `out`
 * (EMK_SIGNATURES_BYTES). Returns how many signatures it holds; 0 when none is valid or the computation failed. Raises nothing
 * and needs a CurrentResourceOwner.
 */
extern int	emk_sign_message(char *out, const char *id, int64 timestamp, const char *body, size_t len,
							 const EmkSecret *secrets, int n, TimestampTz now);

/* ---- retry.c: what follows from an answer; pure ---- */

typedef enum EmkTryVerdict
{
	EMK_TRY_DELIVERED,
	EMK_TRY_RETRY,
	EMK_TRY_DEAD,
	EMK_TRY_GONE				/* dead, and the endpoint wants nothing any more (410) */
} EmkTryVerdict;

typedef struct EmkTry
{
	int			status;			/* 0: no answer came */
	int			attempts;		/* tries begun, this one included */
	const int32 *schedule;		/* seconds between tries */
	int			nschedule;
	const char *retry_after;	/* header value or NULL */
	TimestampTz now;			/* business time */
	TimestampTz real;			/* real time, against which a Retry-After date is read */
	double		spread;			/* 0..1, a random number: the jitter */
} EmkTry;

typedef struct EmkTryPlan
{
	EmkTryVerdict verdict;
	TimestampTz next;			/* EMK_TRY_RETRY: business time of the next try */
	const char *reason;			/* EMK_TRY_DEAD, EMK_TRY_GONE: static text for the decision */
} EmkTryPlan;

extern EmkTryPlan emk_retry_plan(const EmkTry *t);
/* Does this answer say that the endpoint is unwell (no answer, 408, 425, 429, 5xx)? */
extern bool emk_retry_is_transient(int status);
/* Seconds of a Retry-After value, -1 when it is to be ignored. */
extern int64 emk_retry_after_seconds(const char *value, TimestampTz real);
extern const int32 emk_retry_default[];
extern const int emk_retry_default_length;

/* ---- breaker.c: the circuit breaker of one endpoint; pure ---- */

#define EMK_BREAKER_FAILURES	10	/* consecutive ones that open it */

typedef struct EmkBreaker
{
	int			failures;		/* consecutive */
	TimestampTz failing_since;	/* 0: healthy */
	TimestampTz open_until;		/* 0: closed; passed: one probe at a time */
} EmkBreaker;

/* May a try begin now? `in_flight`: tries open to this endpoint. Returns how many may be open at once: 0, 1 or INT_MAX. */
extern int	emk_breaker_allows(const EmkBreaker *b, TimestampTz now);
/* Each returns true when the state (closed, open) changed. */
extern bool emk_breaker_success(EmkBreaker *b);
extern bool emk_breaker_failure(EmkBreaker *b, bool transient, TimestampTz now, double spread);
/* Has the endpoint failed without pause for `limit` microseconds? */
extern bool emk_breaker_hopeless(const EmkBreaker *b, TimestampTz now, int64 limit);

/* ---- url.c, address.c ---- */

typedef struct EmkUrl
{
	bool		plain;			/* http */
	bool		literal;		/* the host is an address or localhost: no name is resolved */
	bool		loopback;
	bool		blocked;		/* the host is a literal address that may not be reached */
	int			port;
	char		host[256];
} EmkUrl;

/*
 * Parses and judges an endpoint's URL. Returns NULL when it is fine, else the primary error message (static text) with *hint
 * set. A blocked literal address is fine here: the caller looks at `blocked`.
 */
extern const char *emk_url_check(const char *url, EmkUrl *out, const char **hint);

/* The `Name: value` lines of an endpoint's headers; palloc'd. ERROR 22023 or 54000 when they are not what they may be. */
extern int	emk_endpoint_headers(Jsonb *headers, char ***lines);

struct sockaddr;
/* May a socket be opened to this address? No palloc, no ereport: called inside curl. */
extern bool emk_address_allowed(const struct sockaddr *addr);
extern bool emk_address_is_loopback(const struct sockaddr *addr);
extern int	emk_address_generation(void);	/* moves when the allowed networks change */
extern void emk_address_init(void);

/*
 * retention.c: forgets up to `limit` deliveries, oldest first, that settled before `keep`, with their attempts; how many. Inside open
 * SPI, as the owner.
 */
extern uint64 emk_deliver_drop_old(TimestampTz keep, int limit);

/* The advisory lock a sending worker holds for life; its objid is the low half of the epoch. No SQL function takes kind 8. */
#define EMK_EPOCH_LOCK_CLASS	0x454d4b01
#define EMK_EPOCH_LOCK_CLASS_TEXT "1162693377"	/* the same, in SQL */
#define EMK_EPOCH_LOCK_KIND		8

#endif
