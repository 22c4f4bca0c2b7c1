/*
 * sample.c: what events looked like lately, for the warnings of create_rule(). A sample, never an answer: the last pages of
 * the newest partitions that hold rows. It is kept in the backend, so that ten thousand calls in a row read it a few
 * times only; a name that is not in it is looked for again, at most once a second where history is large.
 *
 * Memory: one context below TopMemoryContext, thrown away whole with each new sample.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/define_int.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define SAMPLE_PARTITIONS	3
#define SAMPLE_PAGES		256			/* of each */
#define SAMPLE_ROWS			10000		/* of each */
#define SAMPLE_OBJECTS		8			/* property objects kept of each name */
#define SAMPLE_NAMES		5000
#define SAMPLE_BYTES		(2 * 1024 * 1024)	/* of property objects, all names together */
#define SMALL_HISTORY		1000		/* rows; a sample this small is renewed at every miss */
#define RENEW_AFTER			USECS_PER_SEC
#define OLD_AFTER			(60 * USECS_PER_SEC)

typedef struct Seen
{
	char		name[EMK_MAX_EVENT_NAME_BYTES + 1];	/* hash key */
	int			n;
	Jsonb	   *objects[SAMPLE_OBJECTS];
} Seen;

static MemoryContext sample_context = NULL;
static HTAB *sample = NULL;				/* NULL: nothing sampled yet */
static int64 sampled_at;				/* monotonic */
static int64 sampled_rows;
static Size sampled_bytes;

static EmkPlan partitions_plan = {
	"SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), s.pages FROM pg_catalog.pg_inherits i "
	"JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid "
	"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
	"CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog./) "
	"pg_catalog.current_setting('block_size')::pg_catalog.int8 AS pages) s "
	"WHERE i.inhparent OPERATOR(pg_catalog.=) 'eventmkt_data.event'::pg_catalog.regclass AND c.relkind "
	"OPERATOR(pg_catalog.=) 'r' AND s.pages OPERATOR(pg_catalog.>) 0 ORDER BY c.relname DESC LIMIT $1", 1, {INT8OID}
};

static void
remember(const char *name, Jsonb *properties)
{
	Seen	   *seen;
	bool		found;

	if (strlen(name) > EMK_MAX_EVENT_NAME_BYTES)
		return;
	seen = hash_search(sample, name, hash_get_num_entries(sample) < SAMPLE_NAMES ? HASH_ENTER : HASH_FIND, &found);
	if (seen == NULL)
		return;
	if (!found)
		seen->n = 0;
	if (seen->n < SAMPLE_OBJECTS && sampled_bytes + VARSIZE(properties) < SAMPLE_BYTES)
	{
		Jsonb	   *copy = MemoryContextAlloc(sample_context, VARSIZE(properties));

		memcpy(copy, properties, VARSIZE(properties));
		seen->objects[seen->n++] = copy;
		sampled_bytes += VARSIZE(properties);
	}
}

/* The last pages of one partition, through a TID range scan. */
static void
sample_partition(const char *relation, int64 pages)
{
	char	   *sql = psprintf("SELECT name, properties FROM %s WHERE ctid OPERATOR(pg_catalog.>=) "
							   "'(" INT64_FORMAT ",0)'::pg_catalog.tid LIMIT %d", relation,
							   Max(pages - SAMPLE_PAGES, 0), SAMPLE_ROWS);

	emk_spi_script(sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		remember(emk_spi_text(i, 1), DatumGetJsonbP(emk_spi_datum(i, 2, &isnull)));
	}
	sampled_rows += SPI_processed;
	SPI_freetuptable(SPI_tuptable);
}

static void
take_sample(void)
{
	HASHCTL		ctl = {.keysize = EMK_MAX_EVENT_NAME_BYTES + 1, .entrysize = sizeof(Seen)};
	Datum		limit = Int64GetDatum(SAMPLE_PARTITIONS);
	char	   *names[SAMPLE_PARTITIONS];
	int64		pages[SAMPLE_PARTITIONS];
	uint64		n;

	sample = NULL;
	if (sample_context == NULL)
		sample_context = AllocSetContextCreate(TopMemoryContext, "eventmkt event sample", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(sample_context);
	ctl.hcxt = sample_context;
	sample = hash_create("eventmkt event sample", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	sampled_rows = sampled_bytes = 0;
	n = emk_spi_run(&partitions_plan, &limit, NULL, false, 0);
	for (uint64 i = 0; i < n; i++)
	{
		names[i] = emk_spi_text(i, 1);
		pages[i] = emk_spi_int8(i, 2, 0);
	}
	for (uint64 i = 0; i < n; i++)
		sample_partition(names[i], pages[i]);
	sampled_at = emk_clock_monotonic();
}

int
emk_rule_history(const char *name, Jsonb ***samples, int *nsamples)
{
	int64		age = emk_clock_monotonic() - sampled_at;
	Seen	   *seen;

	if (sample == NULL || age > OLD_AFTER)
		take_sample();
	seen = hash_search(sample, name, HASH_FIND, NULL);
	if (seen == NULL && age > 0 && (sampled_rows < SMALL_HISTORY || age > RENEW_AFTER))
	{
		take_sample();
		seen = hash_search(sample, name, HASH_FIND, NULL);
	}
	*samples = seen ? seen->objects : NULL;
	*nsamples = seen ? seen->n : 0;
	return seen ? 1 : sampled_rows > 0 ? 0 : -1;
}
