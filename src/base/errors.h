/*
 * errors.h: the SQLSTATE class of eventmkt, EM. Everything that PostgreSQL has a code for uses PostgreSQL's own.
 */
#ifndef EMK_BASE_ERRORS_H
#define EMK_BASE_ERRORS_H

#include "utils/elog.h"

#define ERRCODE_EMK_NOT_INITIALIZED		MAKE_SQLSTATE('E','M','0','0','1')	/* eventmkt.init() has not been run */
#define ERRCODE_EMK_UNKNOWN_RULE		MAKE_SQLSTATE('E','M','0','0','2')
#define ERRCODE_EMK_UNKNOWN_ENDPOINT	MAKE_SQLSTATE('E','M','0','0','3')
#define ERRCODE_EMK_NOT_ADOPTED			MAKE_SQLSTATE('E','M','0','0','4')	/* this database is a copy, not adopted */
#define ERRCODE_EMK_CLOCK_REFUSED		MAKE_SQLSTATE('E','M','0','0','5')	/* the clock may not be moved here */
#define ERRCODE_EMK_WORKER				MAKE_SQLSTATE('E','M','0','0','6')	/* a worker could not be started or stopped */
#define ERRCODE_EMK_BLOCKED_ADDRESS		MAKE_SQLSTATE('E','M','0','0','7')	/* an endpoint in a network that is not allowed */
#define ERRCODE_EMK_UNKNOWN_SEGMENT		MAKE_SQLSTATE('E','M','0','0','8')
#define ERRCODE_EMK_ERASED				MAKE_SQLSTATE('E','M','0','0','9')	/* the person was erased */

#endif
