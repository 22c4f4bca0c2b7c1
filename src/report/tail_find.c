/*
 * tail_find.c: whom a finished tail knows. It is asked once or more for each row of a question, for people in no order, so what it looks at
 * is seldom near the processor: a row itself, a word of the filter, and for who is in the tail a bucket, a person and its events.
 *
 * A question scans its table page by page. When a second row of a page is asked for, all of that is sent for, for every row of the
 * page, one kind after the other, so that each wait is shared by many rows. Only memory is sent for: what is found then is looked up again
 * and proved for each row, so it does no harm that the page is not locked, and that what is read of it may be half written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "report/tail_map.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"

#ifdef __GNUC__
#define SEND_FOR(p)	__builtin_prefetch(p)
#else
#define SEND_FOR(p)	((void) (p))
#endif

/* Who was asked for last: a question that names t twice asks twice. */
static struct
{
	uint64		number;			/* of the map; 0: nobody */
	const EmkTailPerson *person;	/* NULL: not in it */
	int			len;
	char		id[64];
} asked;

/* The page that the last rows came from, by its place among the buffers */
static Size last_page = (Size) -1;
static bool last_page_ahead;	/* it was looked at as a whole */

/* The hash of a row's first column, a short text; false where it is no such. */
static bool
hash_of_row(const char *page, ItemIdData item, uint32 *hash)
{
	Size		at = ItemIdGetOffset(&item);
	const char *id;
	char		head;			/* read once: the page is not locked */

	if (!ItemIdIsNormal(&item) || at + SizeofHeapTupleHeader > BLCKSZ)
		return false;
	at += ((const HeapTupleHeaderData *) (page + at))->t_hoff;
	if (at >= BLCKSZ)
		return false;
	id = page + at;
	head = *(const volatile char *) id;
	if (!VARATT_IS_SHORT(&head) || VARATT_IS_EXTERNAL(&head) || at + VARSIZE_SHORT(&head) > BLCKSZ)
		return false;
	*hash = emk_tail_hash(VARDATA_SHORT(id), VARSIZE_SHORT(&head) - VARHDRSZ_SHORT);
	return true;
}

static void
look_ahead(const EmkTailMap *m, char *page)
{
	uint32		hashes[MaxHeapTuplesPerPage];
	OffsetNumber last = Min(PageGetMaxOffsetNumber((Page) page), MaxHeapTuplesPerPage);
	const uint64 *filter = emk_tail_filter(m);
	const uint32 *buckets = emk_tail_buckets(m);
	const EmkTailPerson *persons = emk_tail_persons(m);
	int			n = 0;
	int			known = 0;

	for (OffsetNumber i = FirstOffsetNumber; i <= last; i++)
		SEND_FOR(page + ItemIdGetOffset(PageGetItemId((Page) page, i)));
	for (OffsetNumber i = FirstOffsetNumber; i <= last; i++)
		if (hash_of_row(page, *PageGetItemId((Page) page, i), &hashes[n]))
		{
			SEND_FOR(&filter[hashes[n] & m->filter_mask]);
			n++;
		}
	for (int i = 0; i < n; i++)
		if (emk_tail_may_have(m, hashes[i]))
		{
			hashes[known++] = hashes[i];
			SEND_FOR(&buckets[emk_tail_bucket_of(m, hashes[i])]);
		}
	for (int i = 0; i < known; i++)
		SEND_FOR(&persons[buckets[emk_tail_bucket_of(m, hashes[i])]]);
	for (int i = 0; i < known; i++)
	{
		const uint32 *bucket = &buckets[emk_tail_bucket_of(m, hashes[i])];

		for (uint32 j = bucket[0]; j < bucket[1]; j++)
			if (persons[j].hash == hashes[i])
				SEND_FOR(emk_tail_id(m, &persons[j]));
	}
}

static const EmkTailPerson *
look_up(const EmkTailMap *m, const char *id, int len, uint32 hash)
{
	const uint32 *bucket = emk_tail_buckets(m) + emk_tail_bucket_of(m, hash);

	for (uint32 i = bucket[0]; i < bucket[1]; i++)
	{
		const EmkTailPerson *p = &emk_tail_persons(m)[i];

		if (p->hash == hash && p->len == len && memcmp(emk_tail_id(m, p), id, len) == 0)
			return p->n > 0 || p->flags != 0 ? p : NULL;
	}
	return NULL;
}

const EmkTailPerson *
emk_tail_find(const EmkTailMap *m, const char *id, int len)
{
	Size		page = ((uintptr_t) id - (uintptr_t) BufferBlocks) / BLCKSZ;
	const EmkTailPerson *p = NULL;
	uint32		hash;

	if (asked.number == m->number && asked.len == len && memcmp(asked.id, id, len) == 0)
		return asked.person;
	if (page != last_page)
	{
		last_page = page;
		last_page_ahead = page >= (Size) NBuffers;	/* it lies elsewhere */
	}
	else if (!last_page_ahead)
	{
		last_page_ahead = true;
		look_ahead(m, BufferBlocks + page * BLCKSZ);
	}
	hash = emk_tail_hash(id, len);
	if (emk_tail_may_have(m, hash))
		p = look_up(m, id, len, hash);
	if (len <= sizeof(asked.id))
	{
		asked.number = m->number;
		asked.person = p;
		asked.len = len;
		memcpy(asked.id, id, len);
	}
	return p;
}
