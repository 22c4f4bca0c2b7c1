/*
 * report.h: what is told about the past. Nothing includes this but eventmkt.c.
 */
#ifndef EMK_REPORT_H
#define EMK_REPORT_H

extern void emk_report_init(void);

#endif
