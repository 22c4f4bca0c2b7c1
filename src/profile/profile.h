/*
 * profile.h: who an id belongs to, and what is known of that person.
 */
#ifndef EMK_PROFILE_H
#define EMK_PROFILE_H

#include "base/base.h"

extern void emk_profile_init(void);

/*
 * The canonical profile id of `id`: itself unless it is an alias. HOT, read only, cached per backend (positive and
 * negative); the cache is dropped when the alias table changes. Runs as the current user, who must be the owner; needs no
 * open SPI connection. The result is owned by the cache or is `id` itself: copy what must outlive the next call.
 */
extern const char *emk_profile_resolve(const char *id);

/*
 * All ids under which events of a canonical profile may be stored: itself first, then its aliases. One query for n
 * profiles, inside the caller's SPI connection; lists are palloc'd in the caller's context.
 */
typedef struct EmkIds
{
	int			n;
	char	  **ids;
} EmkIds;
extern void emk_profile_ids(char **canonical, int n, EmkIds *out);

/* Traits of a profile now: {} when there is no row. Palloc'd. */
extern Jsonb *emk_profile_traits(const char *canonical);

#endif
