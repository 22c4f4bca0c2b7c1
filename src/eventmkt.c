/*
 * eventmkt.c: the library's entry. _PG_init calls <layer>_init() in floor order; nobody includes this file.
 */
#include "postgres.h"
#include "fmgr.h"

#include "base/base.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	emk_base_init();
}
