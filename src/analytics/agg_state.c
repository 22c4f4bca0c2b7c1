/*
 * agg_state.c: the states of aggregates; see EmkState for their form.
 *
 * A state is an ordinary value: it can be stored, sent to another node and merged there. So nothing in it is trusted: the
 * header is checked against the length at every call, records are copied out with memcpy, and whatever a record says leads to
 * an answer or to ERROR 22P03.
 *
 * Rules of memory: inside an aggregate the server owns the state; a row is written into its slack. When that is used up
 * a copy of twice the size is returned, which the server takes over.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "base/base.h"
#include "miscadmin.h"

#define FIRST_SIZE	128

#ifdef WORDS_BIGENDIAN
#define RESERVED	1			/* the byte order is part of the form */
#else
#define RESERVED	0
#endif

void
emk_state_malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("malformed aggregate state")));
}

/* ERROR unless st is a state of `kind` (0: of any) as far as its header goes. */
static void
check_state(const EmkState *st, int kind)
{
	Size		size = VARSIZE(st);

	if (size < EMK_STATE_HEADER || st->version != EMK_STATE_VERSION || st->reserved != RESERVED ||
		st->kind == 0 || st->kind >= EMK_STATE_KINDS || (kind != 0 && st->kind != kind) ||
		st->nparams > size - EMK_STATE_HEADER || st->used > size - EMK_STATE_HEADER - st->nparams ||
		(st->width != 0 && st->used % st->width != 0))
		emk_state_malformed();
}

static EmkState *
make_state(EmkStateKind kind, int width, const void *params, uint32 nparams, Size size)
{
	EmkState   *st;

	while (size < EMK_STATE_HEADER + nparams + 64)
		size *= 2;
	st = palloc0(size);
	SET_VARSIZE(st, size);
	st->version = EMK_STATE_VERSION;
	st->kind = kind;
	st->width = width;
	st->reserved = RESERVED;
	st->nparams = nparams;
	memcpy(st->data, params, nparams);
	return st;
}

/*
 * Argument `argno` as a state. `write` asks for one that may be changed in place: only within an aggregate is the state of
 * argument 0 ours; by hand it is somebody's constant.
 */
static EmkState *
get_state(FunctionCallInfo fcinfo, int argno, EmkStateKind kind, bool write)
{
	struct varlena *raw = (struct varlena *) PG_GETARG_POINTER(argno);
	EmkState   *st;

	if (VARATT_IS_4B_U(raw))
	{
		if (!write || AggCheckCallContext(fcinfo, NULL))
			st = (EmkState *) raw;
		else
			st = (EmkState *) PG_DETOAST_DATUM_COPY(PointerGetDatum(raw));
	}
	else
		st = (EmkState *) PG_DETOAST_DATUM(PointerGetDatum(raw));
	check_state(st, kind);
	return st;
}

EmkState *
emk_state_take(FunctionCallInfo fcinfo, EmkStateKind kind, int width, const void *params, uint32 nparams)
{
	EmkState   *st;

	if (PG_ARGISNULL(0))
		return make_state(kind, width, params, nparams, FIRST_SIZE);
	st = get_state(fcinfo, 0, kind, true);
	if (st->width != width || st->nparams != nparams || memcmp(st->data, params, nparams) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the parameters of an aggregate must be the same for all rows of a group"),
				 errhint("Window, mode, pattern, zone and the number of conditions cannot differ between rows.")));
	return st;
}

#define PIECE	(4 * 1024 * 1024)

void
emk_state_copy(void *to, const void *from, Size size)
{
	for (Size done = 0; done < size; done += PIECE)
	{
		memcpy((char *) to + done, (const char *) from + done, Min(size - done, PIECE));
		CHECK_FOR_INTERRUPTS();
	}
}

/* Copies `used` bytes and clears the rest, in pieces, so that a large state can be cancelled in between. */
static void
copy_state(EmkState *to, const EmkState *from, Size used, Size size)
{
	for (Size done = 0; done < size;)
	{
		Size		piece = Min(size - done, PIECE);
		Size		copied = done < used ? Min(piece, used - done) : 0;

		memcpy((char *) to + done, (const char *) from + done, copied);
		memset((char *) to + done + copied, 0, piece - copied);
		done += piece;
		CHECK_FOR_INTERRUPTS();
	}
}

char *
emk_state_append(EmkState **stp, uint32 bytes)
{
	EmkState   *st = *stp;
	Size		room = VARSIZE(st) - EMK_STATE_HEADER - st->nparams;
	char	   *end;

	if (unlikely(bytes > room - st->used))
	{
		Size		size = VARSIZE(st);
		Size		want;

		emk_state_compact(st);
		want = (Size) st->used + bytes + EMK_STATE_HEADER + st->nparams;
		/* what compaction left must not be close to full, else every row would compact again */
		while (size < want + st->used / 2)
			size += size < 16 * 1024 * 1024 ? size : size / 2;
		if (size > EMK_MAX_STATE_BYTES)
			size = EMK_MAX_STATE_BYTES;
		if (want > size)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("aggregate state of one group exceeds the limit of %d MB",
							EMK_MAX_STATE_BYTES / (1024 * 1024)),
					 errhint("Group by profile or by a shorter period.")));
		if (size > VARSIZE(st))
		{
			EmkState   *larger = palloc(size);

			copy_state(larger, st, EMK_STATE_HEADER + st->nparams + st->used, size);
			SET_VARSIZE(larger, size);
			*stp = st = larger;
		}
	}
	end = st->data + st->nparams + st->used;
	st->used += bytes;
	return end;
}

EmkState *
emk_state_view(FunctionCallInfo fcinfo, EmkStateKind kind)
{
	return PG_ARGISNULL(0) ? NULL : get_state(fcinfo, 0, kind, false);
}

PG_FUNCTION_INFO_V1(emk_analytics_combine);
/* combine(state, state): the combine function of every aggregate here */
Datum
emk_analytics_combine(PG_FUNCTION_ARGS)
{
	EmkState   *a;
	EmkState   *b;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		check_state((EmkState *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0)), 0);
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	b = get_state(fcinfo, 1, 0, false);
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(b);
	a = get_state(fcinfo, 0, 0, true);
	if (a->kind != b->kind || a->width != b->width || a->nparams != b->nparams ||
		memcmp(a->data, b->data, a->nparams) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot merge aggregate states of different questions")));
	if (b->used > 0)
	{
		char	   *end = emk_state_append(&a, b->used);

		emk_state_copy(end, emk_state_records(b), b->used);
	}
	PG_RETURN_POINTER(a);
}
