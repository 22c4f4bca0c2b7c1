/*
 * http.c: requests by libcurl's multi interface, driven by an epoll of our own that nests in PostgreSQL's wait set, so that
 * one sleep ends on sockets, latch, postmaster death and time. Only the worker comes here.
 *
 * slot      the number of a request; free → open (emk_http_submit) → done (collect) → taken (emk_http_answer) → free
 * target    where an endpoint's requests go; referenced by the endpoint and by each handle set up for it
 *
 * Rules
 * 1. A callback returns codes only: no ereport, no palloc, no catalog; it writes into its transfer, which malloc made.
 * 2. Signals are blocked while curl works: it starts threads for name look-ups, and they inherit the mask, so that no
 *    handler of PostgreSQL ever runs in one of them.
 * 3. The address is judged when the socket opens. What a refused peer is like shows neither in the text nor in the time.
 * 4. An answer counts once its header is complete; the body serves the excerpt, and reading stops at EMK_MAX_RESPONSE_BYTES.
 * 5. Nothing of the environment matters: no proxy, no netrc, no cookies, no redirects, verification always on.
 * 6. Handles are set up once and reused; what differs by endpoint is set when the endpoint changes, what differs by request
 *    lies in buffers of the transfer. Linux-specific calls are in this file only.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "deliver/deliver.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include <resolv.h>				/* last: it defines _res, which the server's headers use as a name */

#if LIBCURL_VERSION_NUM < 0x075700
#error "eventmkt needs libcurl 7.87 or later (CURLOPT_QUICK_EXIT)"
#endif

/*
 * Since 8.20 look-ups are done by a pool of threads, of 20 if nobody says more, and curl_multi_cleanup() waits for them if nobody says
 * otherwise. What counts is the library that runs: it may be newer than its header was.
 */
#define POOLED_VERSION	0x081400
#if LIBCURL_VERSION_NUM < POOLED_VERSION
#define CURLMOPT_RESOLVE_THREADS_MAX	((CURLMoption) 20)
#define CURLMOPT_QUICK_EXIT				((CURLMoption) 21)
#endif

#define LOOKUP_THREADS	128		/* two for each look-up that the worker lets begin (worker/peer.c), and some */
#define MAX_TRANSFERS	1000
#define MAX_EVENTS		256
#define IDLE_SECONDS	55		/* a kept connection that was idle longer is not used again */
#define LIFE_SECONDS	600		/* nor one older than this: certificates and addresses are rotated */
#define FAREWELL_BYTES	64		/* what TLS says at the end is shorter, a request longer */

#define RENEW_SECONDS	540		/* so often requests to a host of HTTP/2 change to another connection */
#define ORIGINS			256

/* Those of one scheme, host and port, by a hash: two that share it are renewed together. */
typedef struct Origin
{
	bool		multiplexed;	/* has answered in HTTP/2 */
	bool		some_older;		/* a connection from before renewed_at may be in use */
	int64		renewed_at;		/* monotonic */
} Origin;

struct EmkTarget
{
	int			references;
	Origin	   *origin;
	char	   *url;
	char	   *method;
	long		timeout_ms;
	struct curl_slist *headers;
};

typedef struct Transfer
{
	CURL	   *easy;
	EmkTarget  *target;			/* what the handle is set up for */
	bool		own_ca;			/* eventmkt.ca_file is set on the handle */
	bool		default_ca;		/* curl's own authorities are, as set_authorities() has them */
	bool		open;
	bool		resolved;
	bool		blocked;
	bool		headers_done;	/* the final header is complete */
	bool		too_long;
	size_t		nheader;
	size_t		nbody;
	int64		started;		/* monotonic */
	struct curl_slist nodes[3]; /* webhook-*, in front of the target's */
	char		id_header[64];
	char		time_header[48];
	char		sign_header[32 + EMK_SIGNATURES_BYTES];
	char		text[CURL_ERROR_SIZE];
	EmkAnswer	answer;
} Transfer;

static CURLM *multi = NULL;
static int	epoll_fd = -1;
static WaitEventSet *wait_set = NULL;
static Transfer *transfers[MAX_TRANSFERS];
static int	capacity = 0;
static int	open_count = 0;
static bool any_resolved = false;	/* since emk_http_take_resolved() */
static int64 timer_at = -1;		/* monotonic; -1: curl wants no call */
static int	done[MAX_TRANSFERS];	/* ring of slots whose answers wait */
static int	done_head = 0;
static int	done_count = 0;
static const char *authorities = NULL;	/* the bundle that counts; NULL when there is none */
static Origin origins[ORIGINS];

/* ---- targets ---- */

/* However its URL is written: the host's case and a port that is the usual one make no other connection. */
static Origin *
origin_of(const char *url)
{
	const char *host = strstr(url, "://");
	int			n = host ? (int) (host + 3 - url + strcspn(host + 3, "/?#")) : 0;
	const char *usual = pg_strncasecmp(url, "https:", 6) == 0 ? ":443" : ":80";
	uint32		h = 0;

	if (n > (int) strlen(usual) && strncmp(url + n - strlen(usual), usual, strlen(usual)) == 0)
		n -= strlen(usual);
	for (int i = 0; i < n; i++)
		h = hash_combine(h, pg_ascii_tolower((unsigned char) url[i]));
	return &origins[h % ORIGINS];
}

EmkTarget *
emk_http_target(const EmkTargetSpec *spec)
{
	EmkTarget  *t = calloc(1, sizeof(EmkTarget));
	bool		ok = t != NULL;
	bool		typed = false;

	if (ok)
	{
		t->references = 1;
		t->timeout_ms = spec->timeout_ms;
		t->origin = origin_of(spec->url);
		ok = (t->url = strdup(spec->url)) != NULL && (t->method = strdup(spec->method)) != NULL;
	}
	for (int i = 0; ok && i < spec->nheaders; i++)
	{
		struct curl_slist *list = curl_slist_append(t->headers, spec->headers[i]);

		ok = list != NULL;
		t->headers = ok ? list : t->headers;
		typed |= pg_strncasecmp(spec->headers[i], "content-type:", 13) == 0;
	}
	for (int i = typed ? 1 : 0; ok && i < 2; i++)
	{
		static const char *const ours[] = {"Content-Type: application/json", "Expect:"};
		struct curl_slist *list = curl_slist_append(t->headers, ours[i]);

		ok = list != NULL;
		t->headers = ok ? list : t->headers;
	}
	if (!ok)
	{
		if (t != NULL)
			emk_http_release(t);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	return t;
}

void
emk_http_release(EmkTarget *t)
{
	if (t == NULL || --t->references > 0)
		return;
	curl_slist_free_all(t->headers);
	free(t->url);
	free(t->method);
	free(t);
}

/* ---- callbacks ---- */

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	Transfer   *x = arg;

	x->resolved = any_resolved = true;
	if (purpose != CURLSOCKTYPE_IPCXN || !emk_address_allowed(&addr->addr))
	{
		x->blocked = true;
		return CURL_SOCKET_BAD;
	}
	return socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
}

/*
 * A request that was given up must not arrive later, from the kernel's buffer, when the network is well again: it would be a duplicate
 * of the next try. What the peer has not acknowledged goes with the connection.
 */
static int
close_socket(void *arg, curl_socket_t fd)
{
	struct linger at_once = {1, 0};
	int			unsent = 0;

	if (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > FAREWELL_BYTES)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return close(fd);
}

/* A name is asked for: at first, or anew where a kept connection turned out to be closed. */
static int
about_to_resolve(void *state, void *reserved, void *arg)
{
	Transfer   *x = arg;

	x->resolved = false;
	return 0;
}

/* A connection is there, be it a kept one that asks for no name and opens no socket. */
static int
about_to_ask(void *arg, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
	Transfer   *x = arg;

	x->resolved = any_resolved = true;
	return CURL_PREREQFUNC_OK;
}

static size_t
read_header(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *x = arg;
	size_t		len = size * n;

	x->nheader += len;
	if (x->nheader > EMK_MAX_RESPONSE_BYTES)
	{
		x->too_long = true;
		return 0;
	}
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		const char *space = memchr(data, ' ', len);

		x->answer.status = 0;
		for (const char *p = space ? space + 1 : data + len; p < data + len && *p >= '0' && *p <= '9'; p++)
			x->answer.status = Min(x->answer.status * 10 + (*p - '0'), 1000);
		x->answer.retry_after[0] = '\0';
	}
	else if (len > 12 && pg_strncasecmp(data, "retry-after:", 12) == 0)
	{
		size_t		value = len - 12;

		while (value > 0 && (data[11 + value] == '\r' || data[11 + value] == '\n'))
			value--;
		if (value < sizeof(x->answer.retry_after))
		{
			memcpy(x->answer.retry_after, data + 12, value);
			x->answer.retry_after[value] = '\0';
		}
	}
	else if (len <= 2 && (data[0] == '\r' || data[0] == '\n'))
		x->headers_done = x->answer.status >= 200;
	return len;
}

static size_t
read_body(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *x = arg;
	size_t		len = size * n;
	size_t		room = EMK_MAX_EXCERPT_BYTES - x->answer.nexcerpt;

	x->nbody += len;
	memcpy(x->answer.excerpt + x->answer.nexcerpt, data, Min(len, room));
	x->answer.nexcerpt += Min(len, room);
	return x->nbody > EMK_MAX_RESPONSE_BYTES ? 0 : len;
}

static int
socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct epoll_event ev = {0};

	ev.data.fd = fd;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &ev);
		curl_multi_assign(multi, fd, NULL);
		return 0;
	}
	ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (known == NULL)
	{
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0 && errno == EEXIST)
			epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev);
		curl_multi_assign(multi, fd, &epoll_fd);
	}
	else if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev) != 0 && errno == ENOENT)
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	return 0;
}

static int
timer_changed(CURLM *m, long ms, void *arg)
{
	timer_at = ms < 0 ? -1 : emk_clock_monotonic() + ms * 1000;
	return 0;
}

/* ---- handles ---- */

/* What all requests have in common; once a handle. */
static bool
set_common(Transfer *x)
{
	CURL	   *e = x->easy;
	bool		ok = true;

#define SET(option, value)	(ok = ok && curl_easy_setopt(e, (option), (value)) == CURLE_OK)
	SET(CURLOPT_PRIVATE, x);
	SET(CURLOPT_ERRORBUFFER, x->text);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, x);
	SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(CURLOPT_RESOLVER_START_FUNCTION, about_to_resolve);
	SET(CURLOPT_RESOLVER_START_DATA, x);
	SET(CURLOPT_PREREQFUNCTION, about_to_ask);
	SET(CURLOPT_PREREQDATA, x);
	SET(CURLOPT_HEADERFUNCTION, read_header);
	SET(CURLOPT_HEADERDATA, x);
	SET(CURLOPT_WRITEFUNCTION, read_body);
	SET(CURLOPT_WRITEDATA, x);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);	/* a session taken up again is not verified */
	SET(CURLOPT_MAXAGE_CONN, (long) IDLE_SECONDS);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_USERAGENT, "eventmkt/" EMK_VERSION);
#undef SET
	return ok;
}

/*
 * The certificate authorities: those of eventmkt.ca_file, or curl's own, also after the setting went back to none. A file and no
 * folder beside it: only then curl keeps what it read, else every TLS connection parses the whole bundle again, tens of ms.
 */
static bool
set_authorities(Transfer *x)
{
	static char *file = NULL;
	static char *dir = NULL;
	static bool known = false;
	bool		own = emk_guc_ca_file != NULL && emk_guc_ca_file[0] != '\0';

	if (!known)
	{
		known = curl_easy_getinfo(x->easy, CURLINFO_CAINFO, &file) == CURLE_OK &&
			curl_easy_getinfo(x->easy, CURLINFO_CAPATH, &dir) == CURLE_OK;
		if (known && file != NULL && access(file, R_OK) == 0)
			dir = NULL;
	}
	authorities = own ? emk_guc_ca_file : file;
	if (!own && !x->own_ca && (x->default_ca || !known))
		return true;
	x->own_ca = own;
	x->default_ca = !own;
	return (own || known) &&
		curl_easy_setopt(x->easy, CURLOPT_CAINFO, own ? emk_guc_ca_file : file) == CURLE_OK &&
		curl_easy_setopt(x->easy, CURLOPT_CAPATH, own ? NULL : dir) == CURLE_OK;
}

/* Is the bundle of authorities another one than before, by its name or behind it? Looked at once a second. */
static bool
authorities_changed(int64 now)
{
	static int64 looked_at = 0;
	static struct stat seen;
	struct stat found;
	bool		changed;

	if (looked_at != 0 && now - looked_at < USECS_PER_SEC)
		return false;
	if (authorities == NULL || stat(authorities, &found) != 0)
		memset(&found, 0, sizeof(found));
	changed = looked_at != 0 && (found.st_dev != seen.st_dev || found.st_ino != seen.st_ino || found.st_size != seen.st_size ||
								 found.st_mtim.tv_sec != seen.st_mtim.tv_sec || found.st_mtim.tv_nsec != seen.st_mtim.tv_nsec);
	seen = found;
	looked_at = now;
	return changed;
}

/* Is a request (to this origin; NULL: any) open that was begun by then? */
static bool
is_open_since(int64 then, const Origin *to)
{
	for (int i = 0; i < MAX_TRANSFERS; i++)
		if (transfers[i] != NULL && transfers[i]->open && transfers[i]->started <= then &&
			(to == NULL || transfers[i]->target->origin == to))
			return true;
	return false;
}

/* Whole seconds since then, less what rounding may add, within what a connection may live */
static long
seconds_since(int64 then, int64 now)
{
	return Max(0, Min((now - then) / USECS_PER_SEC - 1, LIFE_SECONDS));
}

/*
 * A connection is not used again when the allowed networks or the authorities changed since it was made: it was judged by the old
 * ones. Nor is what curl keeps of a bundle. To curl a connection in use has no age, and HTTP/2 puts requests beside each other: as long as
 * one from before the change is open, each begins with a connection of its own. For the same reason one that is never idle would live on,
 * so an origin of HTTP/2 has such a change of its own every nine minutes.
 */
static bool
set_age(Transfer *x, Origin *to)
{
	static int	seen = -1;
	static int64 changed_at = 0;
	static bool some_older = false; /* a connection from before the change may be in use */
	int64		now = emk_clock_monotonic();
	long		age;			/* since the newer change */
	bool		changed = authorities_changed(now) || (seen >= 0 && seen != emk_address_generation());

	if (changed)
		changed_at = now;
	else if (seen < 0)
		changed_at = now - 2 * LIFE_SECONDS * USECS_PER_SEC;
	seen = emk_address_generation();
	some_older = (changed || some_older) && is_open_since(changed_at, NULL);
	if (to->multiplexed && now - to->renewed_at >= RENEW_SECONDS * USECS_PER_SEC)
	{
		to->renewed_at = now;
		to->some_older = true;
	}
	to->some_older = to->some_older && is_open_since(to->renewed_at, to);
	age = seconds_since(to->multiplexed ? Max(changed_at, to->renewed_at) : changed_at, now);
	return curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, age < 1 || some_older || to->some_older ? 1L : 0L) == CURLE_OK &&
		curl_easy_setopt(x->easy, CURLOPT_CA_CACHE_TIMEOUT, seconds_since(changed_at, now)) == CURLE_OK &&
		curl_easy_setopt(x->easy, CURLOPT_MAXLIFETIME_CONN, Max(1, age)) == CURLE_OK;
}

/* What an endpoint's requests have in common. */
static bool
set_target(Transfer *x, EmkTarget *t)
{
	CURL	   *e = x->easy;

	if (curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, emk_guc_allow_plain_http ? "http,https" : "https") != CURLE_OK ||
		!set_authorities(x) || !set_age(x, t->origin))
		return false;
	if (x->target == t)
		return true;
	if (curl_easy_setopt(e, CURLOPT_URL, t->url) != CURLE_OK ||
		curl_easy_setopt(e, CURLOPT_POST, 1L) != CURLE_OK ||
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, strcmp(t->method, "POST") == 0 ? NULL : t->method) != CURLE_OK ||
		curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, t->timeout_ms) != CURLE_OK)
		return false;
	t->references++;
	emk_http_release(x->target);
	x->target = t;
	return true;
}

static bool
set_request(Transfer *x, const EmkRequest *r)
{
	snprintf(x->id_header, sizeof(x->id_header), "webhook-id: %s", r->id);
	snprintf(x->time_header, sizeof(x->time_header), "webhook-timestamp: " INT64_FORMAT, r->timestamp);
	snprintf(x->sign_header, sizeof(x->sign_header), "webhook-signature: %s", r->signatures);
	x->nodes[0] = (struct curl_slist) {x->id_header, &x->nodes[1]};
	x->nodes[1] = (struct curl_slist) {x->time_header, &x->nodes[2]};
	x->nodes[2] = (struct curl_slist) {x->sign_header, x->target->headers};
	return curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->nodes) == CURLE_OK &&
		curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) r->length) == CURLE_OK &&
		curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, r->body) == CURLE_OK;
}

static Transfer *
make_transfer(void)
{
	Transfer   *x = calloc(1, sizeof(Transfer));

	if (x == NULL)
		return NULL;
	x->easy = curl_easy_init();
	if (x->easy == NULL || !set_common(x))
	{
		if (x->easy != NULL)
			curl_easy_cleanup(x->easy);
		free(x);
		return NULL;
	}
	ReserveExternalFD();
	return x;
}

bool
emk_http_submit(int slot, const EmkRequest *request)
{
	Transfer   *x = transfers[slot];

	if (x == NULL && (x = transfers[slot] = make_transfer()) == NULL)
		return false;
	Assert(!x->open);
	x->resolved = x->blocked = x->headers_done = x->too_long = false;
	x->nheader = x->nbody = 0;
	x->text[0] = '\0';
	x->answer.slot = slot;
	x->answer.status = x->answer.nexcerpt = 0;
	x->answer.error[0] = x->answer.retry_after[0] = '\0';
	x->started = emk_clock_monotonic();
	if (!set_target(x, request->target) || !set_request(x, request) || curl_multi_add_handle(multi, x->easy) != CURLM_OK)
		return false;
	x->open = true;
	open_count++;
	return true;
}

bool
emk_http_resolved(int slot)
{
	return transfers[slot] != NULL && transfers[slot]->resolved;
}

/* The pool of libcurl 8.20 and later asks for A and AAAA in a thread each. */
static bool
lookups_pooled(void)
{
	return curl_version_info(CURLVERSION_NOW)->version_num >= POOLED_VERSION;
}

/* All threads of this process but the first are curl's; one that idles in the pool counts for the 2 s it is kept. */
int
emk_http_lookups(void)
{
	char		text[512];
	char	   *p;
	int			threads = 0;
	int			fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	p = strrchr(text, ')');		/* the name of the program may hold anything; what follows is field 3 */
	for (int field = 2; p != NULL && field < 20; field++)
		p = strchr(p + 1, ' ');
	threads = p != NULL ? atoi(p + 1) : 0;
	if (threads <= 0)
		return -1;
	return lookups_pooled() ? threads / 2 : threads - 1;
}

bool
emk_http_take_resolved(void)
{
	bool		any = any_resolved;

	any_resolved = false;
	return any;
}

/* ---- driving ---- */

/* What went wrong, in words for an operator; plain ASCII. */
static void
describe(Transfer *x, CURLcode code)
{
	char	   *out = x->answer.error;
	const char *text = x->text[0] ? x->text : curl_easy_strerror(code);

	if (x->blocked && code == CURLE_COULDNT_CONNECT)
		text = "address not allowed";
	else if (x->too_long)
		text = "the header of the answer is too long";
	else if (code == CURLE_OPERATION_TIMEDOUT)
		text = x->resolved ? "no answer in time" : "host name not resolved in time";
	strlcpy(out, text, sizeof(x->answer.error));
	for (; *out; out++)
		if ((unsigned char) *out < 0x20 || (unsigned char) *out >= 0x7f)
			*out = '?';
}

/* The first answer in HTTP/2: the connections of the origin are as young as its request, less what seconds_since() leaves out. */
static void
note_version(const Transfer *x)
{
	long		version = 0;

	if (x->target->origin->multiplexed || curl_easy_getinfo(x->easy, CURLINFO_HTTP_VERSION, &version) != CURLE_OK ||
		version < CURL_HTTP_VERSION_2_0)
		return;
	x->target->origin->multiplexed = true;
	x->target->origin->renewed_at = x->started - 5 * USECS_PER_SEC;
}

static void
finish(Transfer *x, CURLcode code)
{
	curl_multi_remove_handle(multi, x->easy);
	x->open = false;
	open_count--;
	x->answer.latency_us = emk_clock_monotonic() - x->started;
	note_version(x);
	if (code == CURLE_OK && x->answer.status >= 100)
		x->headers_done = true;
	if (!x->headers_done)
	{
		x->answer.status = 0;
		x->answer.nexcerpt = 0;
		x->answer.retry_after[0] = '\0';
		describe(x, code);
		if (x->answer.error[0] == '\0')
			strlcpy(x->answer.error, "no answer", sizeof(x->answer.error));
	}
	else if (x->answer.status < 100 || x->answer.status > 999)
		x->answer.status = 999;
	x->answer.resolved = x->resolved;
	done[(done_head + done_count++) % MAX_TRANSFERS] = x->answer.slot;
}

static void
collect(void)
{
	CURLMsg    *msg;
	int			left;

	while ((msg = curl_multi_info_read(multi, &left)) != NULL)
	{
		Transfer   *x = NULL;
		CURLcode	code = msg->data.result;

		if (msg->msg == CURLMSG_DONE && curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &x) == CURLE_OK)
			finish(x, code);
	}
}

void
emk_http_drive(void)
{
	struct epoll_event events[MAX_EVENTS];
	sigset_t	all;
	sigset_t	before;
	int			running;
	int			n;

	if (multi == NULL)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	n = epoll_wait(epoll_fd, events, MAX_EVENTS, 0);
	for (int i = 0; i < n; i++)
	{
		uint32		ev = events[i].events;

		curl_multi_socket_action(multi, events[i].data.fd,
								 (ev & EPOLLIN ? CURL_CSELECT_IN : 0) | (ev & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
								 (ev & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0), &running);
	}
	if (timer_at >= 0 && emk_clock_monotonic() >= timer_at)
	{
		timer_at = -1;
		curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	collect();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

const EmkAnswer *
emk_http_answer(void)
{
	int			slot;

	if (done_count == 0)
		return NULL;
	slot = done[done_head];
	done_head = (done_head + 1) % MAX_TRANSFERS;
	done_count--;
	return &transfers[slot]->answer;
}

EmkWoke
emk_http_wait(long timeout_ms)
{
	WaitEvent	events[3];
	EmkWoke		woke = EMK_WOKE_TIMEOUT;
	int			n;

	if (done_count > 0)
		timeout_ms = 0;
	if (timer_at >= 0)
	{
		int64		us = timer_at - emk_clock_monotonic();

		timeout_ms = Min(timeout_ms, us <= 0 ? 0 : (us + 999) / 1000);
	}
	n = WaitEventSetWait(wait_set, timeout_ms, events, lengthof(events), PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			return EMK_WOKE_LATCH;
		woke = EMK_WOKE_SOCKET;
	}
	if (woke == EMK_WOKE_TIMEOUT && timer_at >= 0 && emk_clock_monotonic() >= timer_at)
		woke = EMK_WOKE_SOCKET;
	return woke;
}

/* ---- life ---- */

static void
stop_at_exit(int code, Datum arg)
{
	emk_http_stop();
}

/*
 * A name server that is silent holds the thread of a look-up for as long as the resolver has patience, by default 10 s a server:
 * at most 2 s a question and two of them, unless resolv.conf says less or the environment says anything.
 */
static void
bound_lookups(void)
{
#ifdef __GLIBC__
	char		options[64];

	if (getenv("RES_OPTIONS") != NULL || res_init() != 0)
		return;
	snprintf(options, sizeof(options), "timeout:%d attempts:%d", Min(_res.retrans, 2), Min(_res.retry, 2));
	setenv("RES_OPTIONS", options, 0);
#endif
}

/*
 * As many transfers as half of the descriptors that the server leaves a process allow. Connections that are kept count: one more is
 * made only in the place of one that is idle.
 */
int
emk_http_start(void)
{
	static bool registered = false;

	if (multi != NULL)
		return capacity;
	if (!registered)
	{
		unsetenv("SSLKEYLOGFILE");	/* else libcurl writes the keys of all connections there */
		if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
			ereport(ERROR,
					(errcode(ERRCODE_EMK_WORKER),
					 errmsg("could not start libcurl")));
		bound_lookups();
		on_proc_exit(stop_at_exit, (Datum) 0);
		registered = true;
	}
	capacity = Max(8, Min(MAX_TRANSFERS, max_safe_fds / 2));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create an epoll descriptor: %m")));
	ReserveExternalFD();
	wait_set = emk_wait_event_set_create(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, epoll_fd, NULL, NULL);
	multi = curl_multi_init();
	if (multi == NULL ||
		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_changed) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_changed) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) capacity) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) capacity) != CURLM_OK ||
		(lookups_pooled() && (curl_multi_setopt(multi, CURLMOPT_RESOLVE_THREADS_MAX, (long) LOOKUP_THREADS) != CURLM_OK ||
							  curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L) != CURLM_OK)))
		ereport(ERROR,
				(errcode(ERRCODE_EMK_WORKER),
				 errmsg("could not start libcurl")));
	return capacity;
}

void
emk_http_stop(void)
{
	sigset_t	all;
	sigset_t	before;

	if (multi == NULL)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (int i = 0; i < MAX_TRANSFERS; i++)
		if (transfers[i] != NULL)
		{
			if (transfers[i]->open)
				curl_multi_remove_handle(multi, transfers[i]->easy);
			curl_easy_cleanup(transfers[i]->easy);
			emk_http_release(transfers[i]->target);
			free(transfers[i]);
			transfers[i] = NULL;
			ReleaseExternalFD();
		}
	curl_multi_cleanup(multi);
	multi = NULL;
	if (!proc_exit_inprogress)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
	close(epoll_fd);
	epoll_fd = -1;
	ReleaseExternalFD();
	done_count = open_count = 0;
	timer_at = -1;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- excerpt ---- */

char *
emk_http_excerpt(const EmkAnswer *a)
{
	const unsigned char *s = (const unsigned char *) a->excerpt;
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	char	   *out;
	char	   *p;

	if (a->nexcerpt == 0)
		return NULL;
	out = p = palloc(a->nexcerpt + 1);
	for (int i = 0; i < a->nexcerpt;)
	{
		int			len = pg_utf_mblen(s + i);

		if (i + len > a->nexcerpt && a->nexcerpt == EMK_MAX_EXCERPT_BYTES)
			break;				/* cut in the middle of a character */
		if (len == 1)
			*p++ = s[i] < 0x20 || s[i] == 0x7f ? ' ' : s[i] < 0x80 ? s[i] : '?';
		else if (!utf8 || i + len > a->nexcerpt || !pg_utf8_islegal(s + i, len) || (s[i] == 0xc2 && s[i + 1] < 0xa0))
		{
			*p++ = '?';
			len = 1;
		}
		else
		{
			memcpy(p, s + i, len);
			p += len;
		}
		i += len;
	}
	*p = '\0';
	return out;
}
