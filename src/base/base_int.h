/*
 * base_int.h: the starts of the base layer's files, called by emk_base_init() alone.
 */
#ifndef EMK_BASE_INT_H
#define EMK_BASE_INT_H

extern void emk_base_init_setting(void);
extern void emk_base_init_owner(void);
extern void emk_base_init_wake(void);
#ifdef EMK_PAUSE_POINTS
extern void emk_base_init_pause(void);
#else
#define emk_base_init_pause() ((void) 0)
#endif

#endif
