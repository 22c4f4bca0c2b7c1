/*
 * report.h: what is told about the past: views, and the upkeep of timelines.
 */
#ifndef EMK_REPORT_H
#define EMK_REPORT_H

extern void emk_report_init(void);
/* Of backtest.c: what a disabled rule would send is said when it is made. */
extern void emk_report_init_backtest(void);

/* Makes the views of exposed events and of funnels again, for init(). Inside SPI, as a superuser; one that fails leaves a WARNING. */
extern void emk_report_restore(void);

#endif
