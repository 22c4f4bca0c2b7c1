/*
 * admin_int.h: what the files of the admin layer share.
 */
#ifndef EMK_ADMIN_INT_H
#define EMK_ADMIN_INT_H

#include "base/base.h"
#include "nodes/execnodes.h"

/* ERROR 42501 unless the current user is a superuser; `what` names the function, e.g. "eventmkt.init()". */
extern void emk_admin_require_superuser(const char *what);

/*
 * Pins what a hostile or unusual session may have set: search_path, message level, styles, and a lock_timeout of five seconds where
 * none is set. Returns the nest level for emk_admin_unpin(); an ERROR undoes it too.
 */
extern int	emk_admin_pin(void);
extern void emk_admin_unpin(int nestlevel);
/* One more setting, between the two */
extern void emk_admin_pin_setting(const char *name, const char *value);

/* Runs one statement that the engine built itself (identifiers quoted) in the open SPI connection. */
extern void emk_admin_run(const char *fmt, ...) pg_attribute_printf(1, 2);

/* Appends a row of text columns to a materialised result. NULL is SQL NULL. */
extern void emk_admin_row(ReturnSetInfo *rsinfo, int ncols, const char *const *cols);

/* Grants what every recorded role was given by grant_access(); after a re-created extension. Inside open SPI. */
extern int	emk_admin_regrant(void);

/* Writes the identity of this database (system identifier, oid, instance, timeline) to the settings. */
extern void emk_admin_put_identity(void);

/* erase.c */
extern void emk_admin_init_erase(void);

/* advance.c */
extern void emk_admin_init_advance(void);

#endif
