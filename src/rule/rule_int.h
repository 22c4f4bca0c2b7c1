/*
 * rule_int.h: what the files of the rule layer share.
 */
#ifndef EMK_RULE_INT_H
#define EMK_RULE_INT_H

#include "rule/rule.h"

/* A condition that is more than a few terms is hot for documents up to here. */
#define EMK_RULE_HOT_BYTES 4096

/* `$.property op constant`; strings point into the jsonpath it was read from */
typedef struct EmkTerm
{
	JsonPathItemType op;
	char	   *property;
	int32		property_len;
	JsonbValue	constant;
} EmkTerm;

extern bool emk_rule_plain_term(JsonPathItem *v, EmkTerm *term);

extern void emk_rule_init_condition(void);
extern void emk_rule_init_cache(void);
extern void emk_rule_init_match(void);
extern void emk_rule_init_armed(void);

#endif
