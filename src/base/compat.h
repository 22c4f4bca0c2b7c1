/*
 * compat.h: what differs between PostgreSQL 15 and 18, and nothing else.
 */
#ifndef EMK_BASE_COMPAT_H
#define EMK_BASE_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "eventmkt needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#define emk_wait_event_set_create(n)	CreateWaitEventSet(TopMemoryContext, (n))
#elif PG_VERSION_NUM < 170000
#define emk_wait_event_set_create(n)	CreateWaitEventSet(TopMemoryContext, (n))
#else
#define emk_wait_event_set_create(n)	CreateWaitEventSet(NULL, (n))
#endif

#endif
