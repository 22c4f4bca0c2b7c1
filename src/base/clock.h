/*
 * clock.h: the clocks. No other file of the project reads the time.
 *
 * business time   emk_clock_now(): real time plus the offset that advance_clock() moves; due times, windows, retries
 * real time       emk_clock_real(): webhook-timestamp, measured latency
 * monotonic time  emk_clock_monotonic(): leases, timeouts, breakers; microseconds from an arbitrary start
 * processor       emk_clock_cpu(): what this thread has used of one, microseconds: what a thing costs, however busy the machine is
 */
#ifndef EMK_BASE_CLOCK_H
#define EMK_BASE_CLOCK_H

#include "utils/timestamp.h"

extern TimestampTz emk_clock_now(void);
extern TimestampTz emk_clock_real(void);
extern int64 emk_clock_monotonic(void);
extern int64 emk_clock_cpu(void);

/*
 * Business time at the start of the client's statement: one value for all of it, so a planner may treat it as STABLE and leave
 * out partitions before it runs. pin: from then on it is `now` instead, the moment at which the engine decides, until what it
 * gave back is pinned again (0: none).
 */
extern TimestampTz emk_clock_statement(void);
extern TimestampTz emk_clock_pin(TimestampTz now);

/* The offset of business time against real time, microseconds; 0 in a copy that has not been adopted. */
extern int64 emk_clock_offset(void);

/*
 * `t` plus or minus `iv`, counted in UTC whatever the session's zone: a day is 24 hours. Within ten years of the ends of time
 * (4714 BC, 294276 AD) and at infinity it is t itself: an event of such a date must not stop those who compare with it.
 */
extern TimestampTz emk_clock_add(TimestampTz t, const Interval *iv);
extern TimestampTz emk_clock_subtract(TimestampTz t, const Interval *iv);

#endif
