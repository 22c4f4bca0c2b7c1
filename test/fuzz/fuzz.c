/*
 * fuzz.c: a coverage-guided fuzzer inside a backend: palloc(), ereport() and the server's own readers are the real ones, and with
 * the sanitizers' server every chunk has bounds. Linked into the library of a build of its own (test/fuzz/run).
 *
 * The compiler calls us at each edge and each comparison (-fsanitize-coverage=trace-pc,trace-cmp). An input that takes an edge a new
 * number of times (by powers of two) joins the corpus; the constants that were compared against are put into mutants. What a
 * target raises is an answer, but for SQLSTATE XX000 and for one that takes more than a second of CPU: these are findings, kept as files beside
 * the input under way, which is what a crash leaves behind.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#define LONGEST	8192			/* more than any limit of a text */
#define SHORT	600			/* as inputs go that are kept in the repository */
#define MAP_SIZE	65536
#define NCONSTANTS	4096
#ifdef __clang__					/* there only for coverage, without sanitizers */
#define PLAIN
#else
#define PLAIN		__attribute__((no_sanitize_coverage, no_sanitize("address", "undefined")))
#endif

typedef struct Input
{
	uint8	   *data;
	size_t		n;
} Input;

/* ---- what the compiler tells ---- */

static bool watching;
static bool places;				/* where it was matters, not where it came from */
static uintptr_t before;
static uint8 edges[MAP_SIZE];
static uint16 taken[MAP_SIZE];	/* which edges are not 0, so that a short run costs little */
static int	ntaken;
static uint8 seen[MAP_SIZE];
static uint64 constants[NCONSTANTS];
static uint32 nconstants;

PLAIN void __sanitizer_cov_trace_pc(void);
PLAIN void
__sanitizer_cov_trace_pc(void)
{
	uintptr_t	pc = (uintptr_t) __builtin_return_address(0);
	uint16		edge;

	if (!watching)
		return;
	pc = (pc >> 1) * UINT64CONST(0x9E3779B97F4A7C15) >> 48;
	edge = (pc ^ before) % MAP_SIZE;
	if (edges[edge] == 0)
		taken[ntaken++] = edge;
	if (edges[edge] < 255)
		edges[edge]++;
	before = places ? 0 : pc >> 1;
}

#define REMEMBER(name, type) \
	PLAIN void name(type a, type b); \
	PLAIN void name(type a, type b) { if (watching && a != b && a > 1) constants[nconstants++ % NCONSTANTS] = a; }
REMEMBER(__sanitizer_cov_trace_const_cmp1, uint8)
REMEMBER(__sanitizer_cov_trace_const_cmp2, uint16)
REMEMBER(__sanitizer_cov_trace_const_cmp4, uint32)
REMEMBER(__sanitizer_cov_trace_const_cmp8, uint64)
#define IGNORE(name, type) \
	PLAIN void name(type a, type b); \
	PLAIN void name(type a, type b) { (void) a; (void) b; }
IGNORE(__sanitizer_cov_trace_cmp1, uint8)
IGNORE(__sanitizer_cov_trace_cmp2, uint16)
IGNORE(__sanitizer_cov_trace_cmp4, uint32)
IGNORE(__sanitizer_cov_trace_cmp8, uint64)
IGNORE(__sanitizer_cov_trace_cmpf, float)
IGNORE(__sanitizer_cov_trace_cmpd, double)
PLAIN void __sanitizer_cov_trace_switch(uint64 value, void *cases);
PLAIN void
__sanitizer_cov_trace_switch(uint64 value, void *cases)
{
	(void) value;
	(void) cases;
}

/* Did the last run do what none did before? The number of new edges or counts. */
PLAIN static int
novelty(void)
{
	int			n = 0;

	for (int i = 0; i < ntaken; i++)
	{
		uint8		c = edges[taken[i]];
		uint8		class = c < 4 ? 1 << (c - 1) : c < 8 ? 8 : c < 16 ? 16 : c < 32 ? 32 : c < 128 ? 64 : 128;

		n += (seen[taken[i]] & class) == 0;
		seen[taken[i]] |= class;
	}
	return n;
}

PLAIN static void
forget_edges(void)
{
	for (int i = 0; i < ntaken; i++)
		edges[taken[i]] = 0;
	ntaken = 0;
	before = 0;
}

/* ---- mutation ---- */

static pg_prng_state prng;

static uint32
below(uint32 n)
{
	return n == 0 ? 0 : pg_prng_uint64(&prng) % n;
}

static void
put(Input *in, size_t at, size_t gone, const void *what, size_t n)
{
	gone = Min(gone, in->n - at);
	if (in->n - gone + n > LONGEST)
		return;
	memmove(in->data + at + n, in->data + at + gone, in->n - at - gone);
	memcpy(in->data + at, what, n);
	in->n += n - gone;
}

static void
mutate(Input *in, const Target *t, const Input *corpus, int ncorpus)
{
	static const int64 odd[] = {0, 1, -1, 127, 128, 255, 256, 32767, 65535, 65536, PG_INT32_MAX, PG_INT32_MIN, PG_INT64_MAX, PG_INT64_MIN, 4096};
	size_t		at = below(in->n + 1);
	uint8		piece[16];
	int			size = 1 << below(4);
	int			nwords = 0;

	while (t->words[nwords])
		nwords++;
	switch (below(nwords ? 11 : 9))
	{
		case 0:
			if (at < in->n)
				in->data[at] ^= 1 << below(8);
			break;
		case 1:
			if (at < in->n)
				in->data[at] = below(256);
			break;
		case 2:
			put(in, at, 1 + below(8), "", 0);
			break;
		case 3:
			piece[0] = below(256);
			put(in, at, 0, piece, 1);
			break;
		case 4:
			memcpy(piece, &odd[below(lengthof(odd))], 8);
			put(in, at, below(2) ? 8 : 0, piece, size);
			break;
		case 5:
			if (nconstants > 0)
			{
				memcpy(piece, &constants[below(nconstants < NCONSTANTS ? nconstants : NCONSTANTS)], 8);
				put(in, at, below(2) ? 8 : 0, piece, size);
			}
			break;
		case 6:					/* a part comes twice */
			{
				uint8		copy[64];
				size_t		wanted = 1 + below(sizeof(copy));
				size_t		n = Min(wanted, in->n - at);

				memcpy(copy, in->data + at, n);
				put(in, below(in->n + 1), 0, copy, n);
			}
			break;
		case 7:					/* the end of another one */
			{
				const Input *other = &corpus[below(ncorpus)];
				size_t		from = below(other->n + 1);

				put(in, at, in->n - at, other->data + from, other->n - from);
			}
			break;
		case 8:
			if (at < in->n)
				in->data[at] += (int) below(35) - 17;
			break;
		default:
			{
				const char *word = t->words[below(nwords)];

				put(in, at, below(2) ? strlen(word) : 0, word, strlen(word));
			}
	}
}

/* ---- one run ---- */

void
emk_fuzz_go_on(MemoryContext mine)
{
	int			state = geterrcode();

	if (state == ERRCODE_INTERNAL_ERROR || state == ERRCODE_QUERY_CANCELED)
		PG_RE_THROW();
	MemoryContextSwitchTo(mine);
	FlushErrorState();
}

char *
emk_fuzz_string(const uint8 *data, size_t n)
{
	return pnstrdup((const char *) data, strnlen((const char *) data, n));
}

typedef struct Run
{
	const Target *target;
	const char *folder;
	MemoryContext scratch;
	uint8	   *current;		/* a file in memory: length and input under way */
	int64		runs;
	int64		raised;
	int64		findings;
} Run;

static void
save(const Run *r, const char *kind, const Input *in)
{
	char		path[MAXPGPATH];
	int			fd;
	uint64		h = 1469598103934665603u;

	for (size_t i = 0; i < in->n; i++)
		h = (h ^ in->data[i]) * 1099511628211u;
	snprintf(path, sizeof(path), "%s/%s-%016llx", r->folder, kind, (unsigned long long) h);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, in->data, in->n) != (ssize_t) in->n)
		elog(WARNING, "could not write %s: %m", path);
	if (fd >= 0)
		close(fd);
}

/* What an error left pinned: by thousands they make every further pin slow. */
static void
let_go(ResourceOwner mine, bool ended_well)
{
	for (ResourceReleasePhase p = RESOURCE_RELEASE_BEFORE_LOCKS; p <= RESOURCE_RELEASE_AFTER_LOCKS; p++)
		ResourceOwnerRelease(mine, p, ended_well, false);
	ResourceOwnerDelete(mine);
}

static void
attempt(Run *r, const Input *in)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner mine = NULL;
	volatile int state = 0;
	static clock_t began;			/* one run begins where another one ended, but for the making of an input */
	clock_t		ended;

	if (r->target->text && !pg_verify_mbstr(PG_UTF8, (char *) in->data, strnlen((char *) in->data, in->n), true))
		return;
	memcpy(r->current, &in->n, sizeof(in->n));
	memcpy(r->current + sizeof(in->n), in->data, in->n);
	if (r->runs == 0)
		began = clock();
	if (r->target->writes)
		BeginInternalSubTransaction(NULL);
	else
		CurrentResourceOwner = mine = ResourceOwnerCreate(owner, "fuzz");
	MemoryContextSwitchTo(r->scratch);
	forget_edges();
	PG_TRY();
	{
		/* in a chunk of its own, so that a read behind its end is seen */
		uint8	   *copy = palloc(in->n);

		memcpy(copy, in->data, in->n);
		watching = true;
		r->target->run(copy, in->n);
		watching = false;
	}
	PG_CATCH();
	{
		watching = false;
		MemoryContextSwitchTo(r->scratch);
		state = geterrcode();
		if (state == ERRCODE_INTERNAL_ERROR)
		{
			ErrorData  *e = CopyErrorData();

			FlushErrorState();
			elog(WARNING, "%s: %s", r->target->name, e->message);
		}
		else
			FlushErrorState();
	}
	PG_END_TRY();
	if (r->target->writes)
	{
		MemoryContextSwitchTo(caller);
		RollbackAndReleaseCurrentSubTransaction();
	}
	else
	{
		CurrentResourceOwner = owner;
		let_go(mine, state == 0);
	}
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(r->scratch);
	r->runs++;
	r->raised += state != 0;
	if (state == ERRCODE_QUERY_CANCELED)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("canceling the fuzzer")));
	ended = clock();
	if (state == ERRCODE_INTERNAL_ERROR || ended - began > CLOCKS_PER_SEC)
	{
		r->findings++;
		save(r, state == ERRCODE_INTERNAL_ERROR ? "internal" : "slow", in);
	}
	began = ended;
}

/* ---- the corpus ---- */

static void
add(Input **corpus, int *n, const void *data, size_t size)
{
	Input	   *in;

	if (size > LONGEST)
		return;
	*corpus = *n == 0 ? palloc(sizeof(Input)) : (*n & (*n - 1)) == 0 ? repalloc(*corpus, 2 * *n * sizeof(Input)) : *corpus;
	in = &(*corpus)[(*n)++];
	in->data = memcpy(palloc(LONGEST), data, size);
	in->n = size;
}

static void
read_folder(const char *folder, Input **corpus, int *n)
{
	DIR		   *dir = opendir(folder);
	struct dirent *e;
	uint8	   *buf = palloc(LONGEST);

	while (dir && (e = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH];
		int			fd;
		ssize_t		size;

		if (strncmp(e->d_name, "new-", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if ((fd = open(path, O_RDONLY)) < 0)
			continue;
		size = read(fd, buf, LONGEST);
		close(fd);
		if (size >= 0)
			add(corpus, n, buf, size);
	}
	if (dir)
		closedir(dir);
}

static uint8 *
map_current(const char *folder)
{
	char		path[MAXPGPATH];
	uint8	   *p;
	int			fd;

	snprintf(path, sizeof(path), "%s/current", folder);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	if (fd < 0 || ftruncate(fd, sizeof(size_t) + LONGEST) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not make %s: %m", path)));
	p = mmap(NULL, sizeof(size_t) + LONGEST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not map %s: %m", path)));
	return p;
}

static const Target *
target_named(const char *name)
{
	for (int i = 0; i < emk_fuzz_ntargets; i++)
		if (strcmp(emk_fuzz_targets[i].name, name) == 0)
			return &emk_fuzz_targets[i];
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no target %s", name)));
	pg_unreachable();
}

/* What a run begins with: the seeds of SQL, those of the target, and the folder. */
static Input *
read_corpus(const Run *r, ArrayType *given, int *n)
{
	Input	   *corpus = NULL;
	Datum	   *seeds;
	int			nseeds;

	*n = 0;
	deconstruct_array(given, BYTEAOID, -1, false, TYPALIGN_INT, &seeds, NULL, &nseeds);
	for (int i = 0; i < nseeds; i++)
		add(&corpus, n, VARDATA_ANY(seeds[i]), VARSIZE_ANY_EXHDR(seeds[i]));
	for (int i = 0; r->target->seeds[i]; i++)
		add(&corpus, n, r->target->seeds[i], strlen(r->target->seeds[i]));
	read_folder(r->folder, &corpus, n);
	if (*n == 0)
		add(&corpus, n, "", 0);
	return corpus;
}

static void
begin(Run *r, FunctionCallInfo fcinfo)
{
	r->target = target_named(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	r->folder = text_to_cstring(PG_GETARG_TEXT_PP(1));
	r->scratch = AllocSetContextCreate(CurrentMemoryContext, "fuzz", ALLOCSET_DEFAULT_SIZES);
	r->current = map_current(r->folder);
	memset(seen, 0, sizeof(seen));
}

static int
by_size(const void *a, const void *b)
{
	const Input *x = a;
	const Input *y = b;

	return x->n != y->n ? (x->n < y->n ? -1 : 1) : memcmp(x->data, y->data, x->n);
}

/* Keeps of the inputs from `from` to `to` bytes, by size, those that take an edge, or reach a place, that none before did. */
static void
keep_news(Run *r, const Input *corpus, int n, size_t from, size_t to, Datum *kept, int *nkept)
{
	for (int i = 0; i < n; i++)
	{
		bool		news = false;

		if (corpus[i].n < from || corpus[i].n > to)
			continue;
		CHECK_FOR_INTERRUPTS();
		attempt(r, &corpus[i]);
		for (int k = 0; k < ntaken; k++)
		{
			news |= !seen[taken[k]];
			seen[taken[k]] |= edges[taken[k]];
		}
		if (news && kept)
			kept[(*nkept)++] = PointerGetDatum(cstring_to_text_with_len((char *) corpus[i].data, corpus[i].n));
	}
}

/* fuzz_shortest(target, folder, seeds bytea[]) → bytea[]: of the corpus the shortest inputs that take each edge; long ones only for new places */
PG_FUNCTION_INFO_V1(fuzz_shortest);
PGDLLEXPORT Datum fuzz_shortest(PG_FUNCTION_ARGS);
Datum
fuzz_shortest(PG_FUNCTION_ARGS)
{
	Run			r = {0};
	Input	   *corpus;
	int			ncorpus;
	Datum	   *kept;
	int			nkept = 0;

	begin(&r, fcinfo);
	corpus = read_corpus(&r, PG_GETARG_ARRAYTYPE_P(2), &ncorpus);
	qsort(corpus, ncorpus, sizeof(Input), by_size);
	kept = palloc(2 * ncorpus * sizeof(Datum));
	attempt(&r, &corpus[0]);	/* what is only done once in a process is nobody's merit */
	keep_news(&r, corpus, ncorpus, 0, SHORT, kept, &nkept);
	places = true;
	memset(seen, 0, sizeof(seen));
	keep_news(&r, corpus, ncorpus, 0, SHORT, NULL, NULL);
	keep_news(&r, corpus, ncorpus, SHORT + 1, LONGEST, kept, &nkept);
	places = false;
	munmap(r.current, sizeof(size_t) + LONGEST);
	PG_RETURN_ARRAYTYPE_P(construct_array(kept, nkept, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* fuzz(target, folder, seconds of processor time, seed, seeds bytea[]) → (runs, raised, corpus, edges, findings) */
PG_FUNCTION_INFO_V1(fuzz);
PGDLLEXPORT Datum fuzz(PG_FUNCTION_ARGS);
Datum
fuzz(PG_FUNCTION_ARGS)
{
	Run			r = {0};
	double		seconds = PG_GETARG_FLOAT8(2);
	Input	   *corpus;
	int			ncorpus;
	Input		in = {.data = palloc(LONGEST)};
	struct timespec began, now;
	TupleDesc	desc;
	Datum		v[5];
	bool		nulls[5] = {0};
	int			nedges = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	begin(&r, fcinfo);
	pg_prng_seed(&prng, PG_GETARG_INT64(3));
	corpus = read_corpus(&r, PG_GETARG_ARRAYTYPE_P(4), &ncorpus);
	for (int i = 0; i < ncorpus; i++)
	{
		attempt(&r, &corpus[i]);
		novelty();
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
	now = began;
	while (now.tv_sec - began.tv_sec + (now.tv_nsec - began.tv_nsec) / 1e9 < seconds)
	{
		/* young ones more often than old ones */
		const Input *from = &corpus[below(2) ? below(ncorpus) : ncorpus - 1 - below(ncorpus < 16 ? ncorpus : 16)];

		CHECK_FOR_INTERRUPTS();
		memcpy(in.data, from->data, from->n);
		in.n = from->n;
		for (int k = 1 << below(4); k > 0; k--)
			mutate(&in, r.target, corpus, ncorpus);
		attempt(&r, &in);
		if (novelty() > 0)
		{
			add(&corpus, &ncorpus, in.data, in.n);
			save(&r, "new", &in);
		}
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	}
	munmap(r.current, sizeof(size_t) + LONGEST);
	for (int i = 0; i < MAP_SIZE; i++)
		nedges += seen[i] != 0;
	v[0] = Int64GetDatum(r.runs);
	v[1] = Int64GetDatum(r.raised);
	v[2] = Int32GetDatum(ncorpus);
	v[3] = Int32GetDatum(nedges);
	v[4] = Int64GetDatum(r.findings);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), v, nulls));
}
