/*
 * fuzz.h: the targets of the fuzzer. A target is given bytes and does with them what the extension does; it may raise.
 */
#ifndef EMK_FUZZ_H
#define EMK_FUZZ_H

#include "postgres.h"

typedef struct Target
{
	const char *name;
	void		(*run) (const uint8 *data, size_t n);
	bool		writes;				/* needs a subtransaction, which is undone */
	bool		text;				/* only bytes that are text of the database reach it */
	const char *const *words;		/* what mutation may put in, NULL-terminated */
	const char *const *seeds;		/* where it begins, NULL-terminated; "\\x…" is hexadecimal */
} Target;

extern const Target emk_fuzz_targets[];
extern const int emk_fuzz_ntargets;
/* fuzz_http.c: header lines of an answer, each ended by a line feed */
extern void emk_fuzz_answer(const uint8 *data, size_t n);
/* fuzz_calls.c: a programme of calls of what SQL can call */
extern void emk_fuzz_calls(const uint8 *data, size_t n);
/* the function of a signature; ERROR where there is none */
extern Oid	emk_fuzz_function(const char *signature);
/* in a PG_CATCH: the target goes on in its context, unless the error is one that no input may raise, or the fuzzer is to end */
extern void emk_fuzz_go_on(MemoryContext mine);
/* the value under trial as a C string in the current context */
extern char *emk_fuzz_string(const uint8 *data, size_t n);

#endif
