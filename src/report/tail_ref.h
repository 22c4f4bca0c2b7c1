/*
 * tail_ref.h: finished tails by reference, see tail_ref.c.
 */
#ifndef EMK_REPORT_TAIL_REF_H
#define EMK_REPORT_TAIL_REF_H

#include "report/tail.h"
#include "storage/dsm.h"

/* The value of the type eventmkt.tail, which exists within a query only: which map is meant, and how another process gets at it. */
typedef struct EmkTailRef
{
	int32		vl_len_;
	dsm_handle	handle;			/* DSM_HANDLE_INVALID: of this process alone */
	uint64		number;
	bool		whole;			/* all that its map says; every process has that one */
} EmkTailRef;

/*
 * Makes a map from what was gathered and keeps it. In parallel mode it lies in shared memory; where that is short, and when asked for
 * `whole`, the map says that nothing packed is to be read. The reference, in the current memory context, is good as long as `user` lives.
 */
extern EmkTailRef *emk_tail_keep(EmkTail *t, bool whole, MemoryContext user);
/* A further reference to one that is kept; NULL when it is gone, or other processes could not read it. */
extern EmkTailRef *emk_tail_refer(uint64 number, MemoryContext user);
extern const EmkTailMap *emk_tail_look_up(const EmkTailRef *ref);

extern const EmkTailMap *emk_tail_latest;	/* the map looked up last, or NULL */

static inline const EmkTailMap *
emk_tail_map(Datum d)
{
	const EmkTailRef *ref = (const EmkTailRef *) DatumGetPointer(d);

	if (likely(emk_tail_latest != NULL && emk_tail_latest->number == ref->number))
		return emk_tail_latest;
	return emk_tail_look_up(ref);
}

#endif
