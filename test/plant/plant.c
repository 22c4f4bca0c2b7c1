/*
 * plant.c: nine errors of memory, planted. A sanitizer job that does not report each of them proves nothing (test/asan asks for
 * every one in a backend of its own). plant(n) commits the n-th.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

static volatile char keep;
static volatile int32 kept;

/* neighbours in one block, so that what runs over lands in memory of ours: malloc's own red zones never see it */
static char *
chunk(Size size)
{
	char	   *p = palloc(size);

	memset(p, 1, size);
	memset(palloc(size), 2, size);
	return p;
}

static pg_noinline void
overrun(char *p, volatile int from, volatile int n)
{
	for (int i = 0; i < n; i++)
		p[from + i] = 'x';
}

static pg_noinline char *
stack_address(void)
{
	char		buf[32];
	char	   *volatile p = buf;

	memset(buf, 3, sizeof(buf));
	overrun(p, 32, 1);
	return NULL;
}

static char global[16];

PG_FUNCTION_INFO_V1(plant);
Datum		plant(PG_FUNCTION_ARGS);

Datum
plant(PG_FUNCTION_ARGS)
{
	volatile int32 big = 100000;
	char	   *p;

	switch (PG_GETARG_INT32(0))
	{
		case 1:					/* an 8-byte store into 7 bytes */
			overrun(chunk(7), 0, 8);
			break;
		case 2:
			overrun(chunk(24), 24, 20);
			break;
		case 3:
			overrun(chunk(24), 24, 40);
			break;
		case 4:
			p = chunk(100);
			pfree(p);
			keep = p[50];
			break;
		case 5:
			{
				MemoryContext mine = AllocSetContextCreate(CurrentMemoryContext, "plant", ALLOCSET_DEFAULT_SIZES);

				p = MemoryContextAlloc(mine, 64);
				MemoryContextReset(mine);
				keep = p[0];
				MemoryContextDelete(mine);
			}
			break;
		case 6:					/* a chunk with a block of its own */
			p = palloc(1 << 20);
			overrun(p, (1 << 20), 1);
			break;
		case 7:
			stack_address();
			break;
		case 8:
			overrun(global, 16, 1);
			break;
		case 9:
			kept = big * (big * 10);
			break;
	}
	PG_RETURN_VOID();
}
