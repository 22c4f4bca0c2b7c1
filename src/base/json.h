/*
 * json.h: small helpers over jsonb that several layers share.
 */
#ifndef EMK_BASE_JSON_H
#define EMK_BASE_JSON_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/*
 * The scalar at the top-level key `name` of an object, as text: strings raw, numbers without trailing zeros (1 = 1.0),
 * true/false. Returns NULL when missing, null, or not a scalar. Palloc'd.
 */
extern char *emk_json_scalar(Jsonb *jb, const char *name, int namelen);

/* Nesting depth of a value: a scalar is 0, {} is 1. */
extern int	emk_json_depth(Jsonb *jb);

/* Appends "key": value pairs to a JSON object under construction; the comma is the caller's. */
extern void emk_json_append_string(StringInfo buf, const char *key, const char *value);	/* NULL value → null */
extern void emk_json_append_jsonb(StringInfo buf, const char *key, Jsonb *value);		/* NULL value → null */

/* A jsonb value from JSON text the engine built itself. */
extern Jsonb *emk_json_parse(const char *text);

#endif
