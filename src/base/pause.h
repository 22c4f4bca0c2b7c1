/*
 * pause.h: named places where a test may stop or kill a process. Only the build of the tests (make pause, -DEMK_PAUSE_POINTS) has
 * them; elsewhere EMK_PAUSE_POINT() is nothing, and there is no setting.
 *
 * The setting eventmkt.pause_point (superusers) says which place, and what happens there: 'NAME ACTION NUMBER [SKIP]'.
 *   kill    the process kills itself (SIGKILL)         once for each NUMBER, whichever process of the server comes there first,
 *   stop    it stops (SIGSTOP) until it gets SIGCONT   also after a restart: the file eventmkt_pause.NUMBER in the data folder, with
 *                                                      the process id, says that it happened
 *   sleep   it waits NUMBER milliseconds, each time
 * SKIP: a process passes so many times before it acts.
 */
#ifndef EMK_BASE_PAUSE_H
#define EMK_BASE_PAUSE_H

#ifdef EMK_PAUSE_POINTS

extern char *emk_pause_setting;

/* May be called anywhere, also in a callback of the commit: it neither raises nor allocates. */
extern void emk_pause_here(const char *name);

#define EMK_PAUSE_POINT(name) \
	do { \
		if (emk_pause_setting != NULL && emk_pause_setting[0] != '\0') \
			emk_pause_here(name); \
	} while (0)

#else
#define EMK_PAUSE_POINT(name) ((void) 0)
#endif

#endif
