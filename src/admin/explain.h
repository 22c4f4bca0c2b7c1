/*
 * explain.h: which part of a condition fails, in words and with the values.
 */
#ifndef EMK_ADMIN_EXPLAIN_H
#define EMK_ADMIN_EXPLAIN_H

#include "rule/rule.h"

typedef struct EmkTermResult
{
	char	   *term;			/* one operand of &&, as jsonpath text */
	bool		holds;
	char	   *said;			/* what fails and why, e.g. `amount is 40, wanted >= 50`; NULL when it holds */
} EmkTermResult;

/*
 * Tests a condition against a value, term by term. Returns whether the whole holds; the terms (none for a NULL path) are
 * palloc'd in *terms. A term that raises an error does not hold, and says so.
 */
extern bool emk_admin_explain(JsonPath *path, Jsonb *value, EmkTermResult **terms, int *nterms);

/* What the terms that fail say, joined by "; ". */
extern char *emk_admin_explain_reason(const EmkTermResult *terms, int nterms);

#endif
