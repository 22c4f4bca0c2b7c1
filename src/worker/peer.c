/*
 * peer.c: endpoints as the worker knows them. The definitions are read when a relcache invalidation of endpoint or secret
 * says that they changed; health (breaker, last answers) is learnt here, kept in memory and written to endpoint_state in the
 * settling transaction when something that matters changed, else every ten seconds.
 *
 * With several workers an endpoint belongs to one of them (endpoint_id modulo their number), so that its limits and its
 * breaker are exact.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/send_int.h"

#define WRITE_EVERY		(10 * USECS_PER_SEC)
#define STALL			10000	/* what gathers between claiming and sending is kept for so long only: those claimed go late, too */
#define SHARE			2		/* an endpoint may hold so many times the slots that are free */

EmkPeer   **emk_peers = NULL;
int			emk_peer_count = 0;

/*
 * So many names may be under look-up, each in a thread that lives until the name server answers or is given up, for one more to
 * begin. Names that failed last time never take the room of new ones, and those never that of names that are known to resolve.
 */
static const int lookup_limit[] = {
	[EMK_NAME_NEW] = 44,
	[EMK_NAME_KNOWN] = 60,
	[EMK_NAME_FAILED] = 16
};

static HTAB *table = NULL;
static int	my_slot = 0;
static int	all_slots = 1;
static bool stale = true;
static uint64 changes = 0;		/* moves with every invalidation */
static bool seen_plain_http = false;
static Oid	endpoint_relid = InvalidOid;
static Oid	secret_relid = InvalidOid;

static EmkPlan load_plan = {
	"SELECT e.endpoint_id, e.name, e.url, e.headers, e.method, e.timeout_ms, e.max_in_flight, e.rate_limit, e.schedule, "
	"e.give_up_after, e.enabled, s.failures, s.failing_since, s.open_until, s.last_success_at, s.last_failure_at, s.last_error, "
	"'eventmkt.secret'::pg_catalog.regclass::pg_catalog.oid, e.ordered "
	"FROM eventmkt_data.endpoint e LEFT JOIN eventmkt_data.endpoint_state s "
	"ON s.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id", 0, {0}
};
static EmkPlan secrets_plan = {
	"SELECT e.endpoint_id, s.secret, s.expires_at FROM eventmkt.secret s "
	"JOIN eventmkt_data.endpoint e ON e.name OPERATOR(pg_catalog.=) s.endpoint "
	"ORDER BY s.expires_at DESC NULLS FIRST, s.created_at DESC", 0, {0}
};
static EmkPlan write_plan = {
	"INSERT INTO eventmkt_data.endpoint_state AS s (endpoint_id, failures, failing_since, open_until, last_success_at, "
	"last_failure_at, last_error) SELECT $1, $2, $3, $4, $5, $6, $7 "
	"WHERE EXISTS (SELECT FROM eventmkt_data.endpoint WHERE endpoint_id OPERATOR(pg_catalog.=) $1) "
	"ON CONFLICT (endpoint_id) DO UPDATE SET failures = EXCLUDED.failures, failing_since = EXCLUDED.failing_since, "
	"open_until = EXCLUDED.open_until, last_success_at = EXCLUDED.last_success_at, "
	"last_failure_at = EXCLUDED.last_failure_at, last_error = EXCLUDED.last_error", 7,
	{INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}
};
static EmkPlan disable_plan = {
	"UPDATE eventmkt_data.endpoint SET enabled = false, disabled_reason = $2 "
	"WHERE endpoint_id OPERATOR(pg_catalog.=) $1 AND enabled", 2, {INT4OID, TEXTOID}
};

static void
forget(Datum arg, Oid relid)
{
	/* while they are read any invalidation counts */
	if (relid == InvalidOid || relid == endpoint_relid || relid == secret_relid || stale)
	{
		stale = true;
		changes++;
	}
}

void
emk_peer_init(int slot, int slots)
{
	HASHCTL		ctl = {.keysize = sizeof(int32), .entrysize = sizeof(EmkPeer), .hcxt = TopMemoryContext};

	my_slot = slot;
	all_slots = Max(slots, 1);
	stale = true;
	if (table != NULL)
		return;
	table = hash_create("eventmkt endpoints", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	emk_base_on_relcache(forget);
}

EmkPeer *
emk_peer_find(int32 endpoint_id)
{
	return table ? hash_search(table, &endpoint_id, HASH_FIND, NULL) : NULL;
}

/* ---- loading ---- */

static TimestampTz
time_or_zero(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

/* The target of an endpoint; *hold says why there is none. A row that somebody wrote by hand must not stop the others. */
static EmkTarget *
make_target(uint64 row, const char *url, const char **hold, bool *literal)
{
	EmkTarget  *volatile target = NULL;
	MemoryContext context = CurrentMemoryContext;
	EmkUrl		parts;
	const char *hint;
	bool		isnull;

	*hold = emk_url_check(url, &parts, &hint);
	*literal = parts.literal;
	if (*hold != NULL)
		return NULL;
	PG_TRY();
	{
		EmkTargetSpec spec = {.url = url, .method = emk_spi_text(row, 5), .timeout_ms = emk_spi_int4(row, 6, 10000)};

		spec.nheaders = emk_endpoint_headers(DatumGetJsonbP(emk_spi_datum(row, 4, &isnull)), &spec.headers);
		target = emk_http_target(&spec);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		*hold = "its headers are malformed";
	}
	PG_END_TRY();
	return target;
}

static void
load_health(EmkPeer *p, uint64 row)
{
	char	   *error = emk_spi_text(row, 17);

	p->breaker.failures = emk_spi_int4(row, 12, 0);
	p->breaker.failing_since = time_or_zero(row, 13);
	p->breaker.open_until = time_or_zero(row, 14);
	p->last_success = time_or_zero(row, 15);
	p->last_failure = time_or_zero(row, 16);
	strlcpy(p->last_error, error ? error : "", sizeof(p->last_error));
}

static void
load_schedule(EmkPeer *p, uint64 row)
{
	bool		isnull;
	ArrayType  *a = DatumGetArrayTypeP(emk_spi_datum(row, 9, &isnull));

	if (p->schedule != NULL)
		pfree(p->schedule);
	p->nschedule = ARR_HASNULL(a) ? 0 : ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	p->schedule = MemoryContextAlloc(TopMemoryContext, sizeof(int32) * Max(p->nschedule, 1));
	memcpy(p->schedule, ARR_DATA_PTR(a), sizeof(int32) * p->nschedule);
}

static void
load_one(uint64 row)
{
	int32		id = emk_spi_int4(row, 1, 0);
	bool		found;
	bool		isnull;
	EmkPeer    *p;
	char	   *url = emk_spi_text(row, 3);
	Interval   *give_up = DatumGetIntervalP(emk_spi_datum(row, 10, &isnull));
	bool		enabled = emk_spi_bool(row, 11, false);

	if (id % all_slots != my_slot)
		return;
	p = hash_search(table, &id, HASH_ENTER, &found);
	if (!found)
	{
		memset(p, 0, sizeof(*p));
		p->endpoint_id = id;
		p->next_ready = DT_NOEND;
		p->tokens = 1;
	}
	if (!enabled || (found && strcmp(p->url, url) != 0))
		p->disable = NULL;
	/* a new endpoint, one that was enabled again, and one that moved start with a clean sheet, or with what is stored */
	if (!found || (enabled && !p->enabled && p->disable == NULL) || strcmp(p->url, url) != 0)
	{
		load_health(p, row);
		p->maybe = true;
		p->low = DT_NOBEGIN;
		p->warm_until = 0;
		p->host = EMK_NAME_NEW;
	}
	p->exists = true;
	p->enabled = enabled && p->disable == NULL; /* one that is to be disabled stays so until that is written */
	strlcpy(p->name, emk_spi_text(row, 2), sizeof(p->name));
	if (p->url != NULL)
		pfree(p->url);
	p->url = MemoryContextStrdup(TopMemoryContext, url);
	emk_http_release(p->target);
	p->target = make_target(row, url, &p->hold, &p->literal);
	p->max_in_flight = emk_spi_int4(row, 7, 1);
	p->rate_limit = emk_spi_int4(row, 8, 0);
	p->ordered = emk_spi_bool(row, 19, false);
	p->give_up_after = give_up->time + (give_up->day + give_up->month * INT64CONST(30)) * USECS_PER_DAY;
	load_schedule(p, row);
	p->nsecrets = 0;
	secret_relid = DatumGetObjectId(emk_spi_datum(row, 18, &isnull));
}

static void
load_secrets(void)
{
	emk_spi_run(&secrets_plan, NULL, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		EmkPeer    *p = emk_peer_find(emk_spi_int4(i, 1, 0));
		bytea	   *key = DatumGetByteaPP(emk_spi_datum(i, 2, &isnull));
		EmkSecret  *s;

		if (p == NULL || p->nsecrets == EMK_SECRETS_MAX || VARSIZE_ANY_EXHDR(key) > EMK_SECRET_MAX_BYTES)
			continue;
		s = &p->secrets[p->nsecrets++];
		s->len = VARSIZE_ANY_EXHDR(key);
		memcpy(s->key, VARDATA_ANY(key), s->len);
		s->expires = time_or_zero(i, 3);
		if (s->expires == 0)
			s->expires = DT_NOEND;
	}
}

/* The peers as an array; those that are gone are forgotten once nothing of theirs is under way. */
static void
list_peers(TimestampTz now)
{
	HASH_SEQ_STATUS seq;
	EmkPeer    *p;

	if (emk_peers != NULL)
		pfree(emk_peers);
	emk_peers = MemoryContextAlloc(TopMemoryContext, sizeof(EmkPeer *) * Max(hash_get_num_entries(table), 1));
	emk_peer_count = 0;
	hash_seq_init(&seq, table);
	while ((p = hash_seq_search(&seq)) != NULL)
	{
		const char *hold = p->hold != NULL ? p->hold : p->nsecrets == 0 ? "no secret" : NULL;

		if (p->exists)
		{
			if (hold != NULL && strcmp(p->last_error, hold) != 0)
			{
				strlcpy(p->last_error, hold, sizeof(p->last_error));
				p->dirty = true;
			}
			p->hold = hold;
			emk_peers[emk_peer_count++] = p;
			continue;
		}
		emk_outbox_cancel_endpoint(p->endpoint_id, now);
		if (p->in_flight + p->reserved + p->aside > 0)
			continue;
		emk_http_release(p->target);
		if (p->url != NULL)
			pfree(p->url);
		if (p->schedule != NULL)
			pfree(p->schedule);
		hash_search(table, &p->endpoint_id, HASH_REMOVE, NULL);
	}
}

static void
read_peers(void)
{
	HASH_SEQ_STATUS seq;
	EmkPeer    *p;
	uint64		seen;

	seen = changes;
	stale = true;				/* until all of it is read */
	seen_plain_http = emk_guc_allow_plain_http;
	endpoint_relid = emk_setting_table("endpoint");
	hash_seq_init(&seq, table);
	while ((p = hash_seq_search(&seq)) != NULL)
		p->exists = false;
	emk_spi_run(&load_plan, NULL, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		load_one(i);
	EMK_PAUSE_POINT("endpoints_read");
	load_secrets();
	list_peers(emk_clock_now());
	stale = seen != changes;	/* one that came meanwhile may be of what was read before it */
}

bool
emk_peer_refresh(void)
{
	if (!stale && seen_plain_http == emk_guc_allow_plain_http)
		return false;
	read_peers();
	for (int tries = 1; stale && tries < EMK_LOAD_TRIES; tries++)
		read_peers();
	return true;
}

/* ---- flow ---- */

bool
emk_peer_is_cold(const EmkPeer *p, int64 mono)
{
	return p->warm_until < mono && !p->literal;
}

int
emk_peer_capacity(EmkPeer *p, TimestampTz now, int64 mono, int64 *when)
{
	int			under_way = p->in_flight + p->reserved;
	int			allowed;
	int			free;
	double		rate;

	if (!p->exists || !p->enabled || p->hold != NULL || p->target == NULL)
		return 0;
	allowed = emk_breaker_allows(&p->breaker, now);
	free = Min(p->max_in_flight, allowed) - under_way;
	/* the more slots are taken, the fewer one endpoint may hold: those that answer slowly never take the last ones */
	free = Min(free, Max((SHARE * emk_send_spare() - under_way) / (SHARE + 1), under_way == 0));
	/* a name that was not looked up lately: one try at a time, and not too many such names at once */
	if (free > 0 && emk_peer_is_cold(p, mono))
		free = under_way > 0 || emk_send_lookups() >= lookup_limit[p->host] ? 0 : 1;
	if (free <= 0 || p->rate_limit == 0)
		return Max(free, 0);
	/* a bucket so small that, with what gathers during STALL, no second of any phase sees more than the limit */
	rate = 0.97 * p->rate_limit;
	p->tokens = Min(p->tokens + rate * (mono - p->tokens_at) / USECS_PER_SEC, Max(1.0, 0.02 * p->rate_limit));
	p->tokens_at = mono;
	if (p->tokens < 1)
		*when = Min(*when, mono + (int64) ((1 - p->tokens) / rate * USECS_PER_SEC) + 1);
	return Min(free, (int) p->tokens);
}

void
emk_peer_spend(EmkPeer *p, int n)
{
	if (p->rate_limit > 0)
		p->tokens -= n;
}

void
emk_peer_sent(EmkPeer *p, int64 mono)
{
	p->tokens_at = Max(p->tokens_at, mono - STALL);
}

/* ---- health ---- */

/* All its times, because the clock that they are by was set back by so much */
static void
shift_times(EmkPeer *p, int64 by)
{
	TimestampTz *times[] = {&p->last_failure, &p->last_success, &p->breaker.failing_since, &p->breaker.open_until};

	for (int i = 0; i < lengthof(times); i++)
		if (*times[i] != 0)
			*times[i] -= by;
	p->dirty = true;
}

void
emk_peer_clock_follow(EmkPeer *p, int64 lead)
{
	if (p->lead != 0 && p->lead - lead > EMK_CLOCK_STEP)
		shift_times(p, p->lead - lead);
	p->lead = lead;
}

void
emk_peer_clock_found(EmkPeer *p, int64 by)
{
	shift_times(p, by);
	p->set_back = by;
}

/* A rollback leaves the deliveries where they were: then the times say again that the clock was set back. */
void
emk_peer_clock_ended(bool committed, int64 lead)
{
	for (int i = 0; i < emk_peer_count; i++)
	{
		EmkPeer    *p = emk_peers[i];

		if (committed && p->lead == 0)
			p->lead = lead;
		if (!committed && p->set_back != 0)
			shift_times(p, -p->set_back);
		p->set_back = 0;
	}
}

void
emk_peer_learn(EmkPeer *p, const EmkSend *s, TimestampTz now)
{
	bool		was_healthy = p->breaker.failing_since == 0;
	bool		changed;

	emk_peer_clock_follow(p, s->lead);
	p->touched = true;
	if (s->plan.verdict == EMK_TRY_DELIVERED)
	{
		p->last_success = now;
		changed = emk_breaker_success(&p->breaker);
		p->dirty |= !was_healthy;
	}
	else
	{
		p->last_failure = now;
		strlcpy(p->last_error, s->error ? s->error : "", sizeof(p->last_error));
		changed = emk_breaker_failure(&p->breaker, emk_retry_is_transient(s->status), now, emk_send_random());
		p->dirty |= was_healthy || p->breaker.open_until != 0;
	}
	if (changed)
	{
		p->dirty = true;
		p->announce = p->breaker.open_until != 0 ? "open" : "closed";
		p->maybe = true;
	}
	if (!p->enabled)
		return;
	if (s->plan.verdict == EMK_TRY_GONE)
		p->disable = "it answered 410 Gone";
	else if (emk_breaker_hopeless(&p->breaker, now, p->give_up_after))
		p->disable = "it failed for longer than give_up_after";
	if (p->disable != NULL)
	{
		p->enabled = false;
		p->announce = "disabled";
		p->dirty = true;
	}
}

static void
notify(const EmkPeer *p)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "endpoint", p->name);
	appendStringInfoString(&buf, ", ");
	emk_json_append_string(&buf, "state", p->announce);
	appendStringInfoChar(&buf, '}');
	Async_Notify("eventmkt", buf.data);
}

static void
write_state(const EmkPeer *p)
{
	Datum		args[7] = {Int32GetDatum(p->endpoint_id), Int32GetDatum(p->breaker.failures),
		TimestampTzGetDatum(p->breaker.failing_since), TimestampTzGetDatum(p->breaker.open_until),
	TimestampTzGetDatum(p->last_success), TimestampTzGetDatum(p->last_failure), CStringGetTextDatum(p->last_error)};
	char		nulls[8] = "       ";

	for (int i = 2; i < 6; i++)
		if (DatumGetTimestampTz(args[i]) == 0)
			nulls[i] = 'n';
	if (p->last_error[0] == '\0')
		nulls[6] = 'n';
	emk_spi_run(&write_plan, args, nulls, false, 0);
}

void
emk_peer_write(int64 mono)
{
	for (int i = 0; i < emk_peer_count; i++)
	{
		EmkPeer    *p = emk_peers[i];

		if (!p->dirty && !(p->touched && mono - p->written_at >= WRITE_EVERY))
			continue;
		p->dirty = true;
		p->written_at = mono;
		write_state(p);
		if (p->disable != NULL)
		{
			Datum		args[2] = {Int32GetDatum(p->endpoint_id), CStringGetTextDatum(p->disable)};

			emk_spi_run(&disable_plan, args, NULL, false, 0);
		}
		if (p->announce != NULL)
			notify(p);
	}
}

void
emk_peer_written(void)
{
	for (int i = 0; i < emk_peer_count; i++)
	{
		EmkPeer    *p = emk_peers[i];

		if (!p->dirty)
			continue;
		p->dirty = p->touched = false;
		p->disable = p->announce = NULL;
	}
}
