/*
 * base_int.h: the starts of the base layer's files, called by emk_base_init() alone.
 */
#ifndef EMK_BASE_INT_H
#define EMK_BASE_INT_H

extern void emk_base_init_setting(void);
extern void emk_base_init_owner(void);
extern void emk_base_init_wake(void);

#endif
