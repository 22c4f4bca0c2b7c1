/*
 * profile_int.h: what the files of the profile layer share with each other.
 */
#ifndef EMK_PROFILE_INT_H
#define EMK_PROFILE_INT_H

#include "profile/profile.h"

extern void emk_profile_init_resolve(void);
extern void emk_profile_init_erased(void);

/* Locks the row of one id as it is, making it when it is missing; returns whether it was made. Inside SPI. */
extern bool emk_profile_lock_row(const char *id);
/* Removes the row of a profile. Inside SPI. */
extern void emk_profile_delete_row(const char *id);

/* A profile row; `traits` is never NULL. */
typedef struct EmkProfileRow
{
	bool		exists;
	bool		identified;
	Jsonb	   *traits;
	TimestampTz created_at;
	TimestampTz updated_at;
} EmkProfileRow;
extern void emk_profile_read_row(const char *id, EmkProfileRow *row);
/* Writes a row that exists. Inside SPI. */
extern void emk_profile_write_row(const char *id, const EmkProfileRow *row);

/* A time for a change of this profile: now, but always after its last change, so that history has one order. */
extern TimestampTz emk_profile_change_time(const EmkProfileRow *row);
/* Appends to trait_change. Inside SPI. */
extern void emk_profile_log_changes(const char *id, TimestampTz at, const EmkTraitChange *changes, int n);

/*
 * The traits `old` with those of `add` set at the top level. A null in `add` removes; with `keep_old` a trait that exists
 * stays as it is. What changed is palloc'd in *changes, its number in *n. Pure.
 */
extern Jsonb *emk_profile_combine(Jsonb *old, Jsonb *add, bool keep_old, EmkTraitChange **changes, int *n);
/* ERROR 54000 when traits are too large or too deep. */
extern void emk_profile_check_traits(Jsonb *traits);

#endif
