/*
 * scrub.h: what the two files of the clearing share: scrub.c goes over the tables, scrub_page.c over one page.
 */
#ifndef EMK_SCRUB_H
#define EMK_SCRUB_H

#include "access/xlogdefs.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

/* What was met on pages */
typedef struct EmkScrubbed
{
	int64		live;			/* rows, those that are being written included */
	int64		dead;			/* rows that were done with before the horizon: VACUUM has to remove them first */
	int64		entries;		/* of an index, with the id of an erased person: VACUUM has to remove them first */
	int64		bounds;			/* such ids in what parts the pages of an index from one another: only REINDEX removes them */
	int64		pages;			/* whose free space was cleared */
	int64		bytes;			/* of it */
} EmkScrubbed;

/*
 * One block of a heap or TOAST table, or of a B-tree: its free space is zero afterwards, also on standbys. `horizon`: a transaction id,
 * invalid: no row can be as old. The caller holds a lock on the relation that lets others write, and nothing else. Adds to *out.
 * `since`: where the WAL ended when the look at the index began; what was moved to lower blocks from then on is looked at too.
 */
extern void emk_admin_scrub_heap(Relation rel, BlockNumber block, BufferAccessStrategy strategy, TransactionId horizon, EmkScrubbed *out);
extern void emk_admin_scrub_index(Relation rel, BlockNumber block, BufferAccessStrategy strategy, XLogRecPtr since, EmkScrubbed *out);

/* After erasures have ended: all tables are to be looked at. Inside SPI, as the owner. */
extern void emk_admin_want_scrub(void);

/* The worker's step; says whether there is more to do at once. */
extern bool emk_admin_scrub_step(void);

#endif
