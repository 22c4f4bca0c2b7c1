/*
 * version.h: the library and the functions of the extension are of one version, or whoever calls hears of it.
 *
 * A package is installed, a preloaded library is loaded at the next restart, and ALTER EXTENSION ... UPDATE changes the functions: three
 * moments. In between, a library may be called by functions that were declared for another one, with arguments it does not know.
 * Each C function that SQL can call is declared with PG_FUNCTION_INFO_V1, and the half of it that tells the calling convention is
 * called when a session looks the function up for the first time. There it is checked, so that no call pays for it.
 *
 * Rules: functions of a known older version are served where nothing about the C function changed since (versions/update works that
 * out), because an app must be able to go on between the restart and the update; of a version that is not known, never.
 */
#ifndef EMK_BASE_VERSION_H
#define EMK_BASE_VERSION_H

#include "fmgr.h"

typedef struct EmkVersionRefused
{
	const char *symbol;
	const char *version;		/* as this version declared it, the function is not served */
} EmkVersionRefused;

/* Generated: older versions that are known, NULL-terminated; what is not served of them, ended by a NULL symbol */
extern const char *const emk_version_known[];
extern const EmkVersionRefused emk_version_refused[];

/* ERROR 55000 with what to do, when the installed extension's function on this symbol is not for this library. */
extern void emk_version_check(const char *symbol);

/* The version of the installed extension when it is not this library's, palloc'd; else NULL. In a transaction. */
extern char *emk_version_other(void);

/* ERROR 55000 unless extension and library are of one version. */
extern void emk_version_require(void);

/* Body of a function that only older versions have: it was refused before. ERROR 55000 all the same. */
extern Datum emk_version_gone(void);

#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	extern PGDLLEXPORT const Pg_finfo_record *pg_finfo_##name(void); \
	const Pg_finfo_record * \
	pg_finfo_##name(void) \
	{ \
		static const Pg_finfo_record record = {1}; \
		emk_version_check(#name); \
		return &record; \
	} \
	extern int no_such_variable

#endif
