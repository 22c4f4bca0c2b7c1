/*
 * admin.h: setting up a database, who may do what, copies, the clock, and how things are. Nothing includes this but
 * eventmkt.c: it is the last floor.
 */
#ifndef EMK_ADMIN_H
#define EMK_ADMIN_H

extern void emk_admin_init(void);

#endif
