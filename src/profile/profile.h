/*
 * profile.h: who an id belongs to, and what is known of that person.
 *
 * An id is canonical unless it is an alias; the alias table is flat, so one look-up finds the canonical id. All functions run
 * as the current user, who must be the owner (emk_owner_enter). They work with or without an open SPI connection and leave
 * the caller's SPI_tuptable alone.
 */
#ifndef EMK_PROFILE_H
#define EMK_PROFILE_H

#include "base/base.h"

extern void emk_profile_init(void);

/*
 * The canonical profile id of `id`: itself unless it is an alias. HOT, read only, cached per backend (positive and
 * negative); the cache is dropped when the alias table changes. The result is owned by the cache or is `id` itself, and is
 * valid until the next call: copy what must live longer.
 */
extern const char *emk_profile_resolve(const char *id);

/* The same for n ids, with one query for all that are not cached. out[i] is ids[i] itself or palloc'd. */
extern void emk_profile_resolve_many(const char **ids, const char **out, int n);

/*
 * All ids under which events of a canonical profile may be stored: itself first, then its aliases. One query for n
 * profiles; lists are palloc'd in the caller's context.
 */
typedef struct EmkIds
{
	int			n;
	char	  **ids;
} EmkIds;
extern void emk_profile_ids(char **canonical, int n, EmkIds *out);

/* Traits of a profile now, or of n profiles with one query: {} when there is no row. Palloc'd. */
extern Jsonb *emk_profile_traits(const char *canonical);
extern void emk_profile_traits_many(char **canonical, int n, Jsonb **out);

/*
 * The past of the traits of n ids, which may have been merged away since (`merges`: look for those). Read at once, into the current
 * memory context, which must outlive it; at() answers from memory: {} before the profile was known. Needs an active snapshot.
 */
typedef struct EmkPast EmkPast;
extern EmkPast *emk_profile_past(char **ids, int n, bool merges);
extern Jsonb *emk_profile_past_at(EmkPast *past, const char *id, TimestampTz at);
/* Had it a row then? */
extern bool emk_profile_past_knows(EmkPast *past, const char *id, TimestampTz at);

/* ERROR (22023, 54000) when `id` is empty or longer than EMK_MAX_ID_BYTES; `what` names the argument. */
extern void emk_profile_check_id(const char *id, const char *what);
/* True for ids that many clients send when they know nobody ("", null, zeros, anonymous ...): they never merge. */
extern bool emk_profile_is_blocked(const char *id);

/*
 * Locks the profiles that n ids belong to until the end of the transaction, in one order for everybody, and stores their
 * canonical ids (palloc'd or ids[i] itself). While the lock is held nobody else merges these profiles or writes their
 * traits. A profile that had no row gets an empty one. Under REPEATABLE READ a concurrent merge is a 40001.
 */
extern void emk_profile_lock(const char **ids, const char **canonical, int n);

/* One trait that changed; NULL: the trait did not exist, or exists no longer. */
typedef struct EmkTraitChange
{
	const char *trait;
	Jsonb	   *old_value;
	Jsonb	   *new_value;
} EmkTraitChange;

/*
 * Sets traits of a locked profile at the top level (a null removes) and keeps the history; `identified` marks it as a
 * person known by name. Returns the number of changes, palloc'd in *changes: none means that nothing was written.
 * ERROR 22023 when `traits` is no object, 54000 when the result exceeds a limit.
 */
extern int	emk_profile_set_traits(const char *canonical, bool identified, Jsonb *traits, EmkTraitChange **changes);

/* Forgets up to `limit` changes of traits before `keep`; how many. The traits of any time since stay known. In SPI, as the owner. */
extern uint64 emk_profile_drop_old(TimestampTz keep, int limit);

/* True when identify() has named this locked profile as a person: an anonymous id no longer. */
extern bool emk_profile_is_identified(const char *canonical);

/*
 * Merges the profile `from` into `into`: both canonical, different and locked. The ids of `from` become aliases of `into`,
 * which also gets the traits it lacks; the row of `from` goes. Returns the merge_id, with which the caller leaves a
 * work row 'm' so that the runs follow. ERROR 54000 when a limit is exceeded.
 */
extern int64 emk_profile_merge(const char *from, const char *into);

/*
 * True when a person with this id was erased and nobody lifted that: nothing is to be stored under it. HOT, read only, cached per
 * backend; while nobody was erased it costs a comparison.
 */
extern bool emk_profile_is_erased(const char *id);
/* The salted hash (bytea) by which an erased id is known, in the caller's SPI connection: lives until that is finished. As the owner. */
extern Datum emk_profile_hash_id(const char *id);
/* Leaves a tombstone of each id; lifts those that were left together with that of `id`, returns how many. In SPI, as the owner. */
extern void emk_profile_bury(char **ids, int n, int64 log_id);
extern int64 emk_profile_unbury(const char *id);

/* Logs (once a pair) that a merge was refused and tells the client; writes no id into a message. */
extern void emk_profile_refuse_merge(const char *from, const char *into, const char *reason);

#endif
