/*
 * explain.c: a condition taken apart for why_not().
 *
 * The text that jsonpath_out() writes is normal: operands that bind less are in parentheses, keys and strings are quoted.
 * So the terms of a conjunction are found in the text, each is parsed and asked like a condition of its own, and the
 * values it speaks of are the accessor chains in it that start at $.
 */
#include "postgres.h"

#include "admin/explain.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#define MAX_TERMS 64
#define MAX_VALUE_BYTES 80

/* One past the end of the quoted string that starts at c. */
static const char *
skip_quoted(const char *c)
{
	for (c++; *c && *c != '"'; c++)
		if (*c == '\\' && c[1])
			c++;
	return *c ? c + 1 : c;
}

/* The bracket that closes the one at c, or the end. */
static const char *
matching(const char *c)
{
	int			depth = 0;

	while (*c)
	{
		if (*c == '"')
		{
			c = skip_quoted(c);
			continue;
		}
		if (*c == '(' || *c == '[' || *c == '{')
			depth++;
		else if ((*c == ')' || *c == ']' || *c == '}') && --depth == 0)
			return c;
		c++;
	}
	return c;
}

/* Splits text at the && outside of all brackets, going into brackets that enclose the whole. */
static void
split(const char *text, size_t len, char **terms, int *n)
{
	const char *end = text + len;

	while (len > 1 && *text == '(' && matching(text) == end - 1)
	{
		text++;
		end--;
		len -= 2;
	}
	for (const char *c = text; c < end;)
	{
		if (*c == '"')
			c = skip_quoted(c);
		else if (*c == '(' || *c == '[' || *c == '{')
			c = matching(c) + 1;
		else if (strncmp(c, " && ", 4) == 0 && *n < MAX_TERMS - 1)
		{
			split(text, c - text, terms, n);
			split(c + 4, end - c - 4, terms, n);
			return;
		}
		else
			c++;
	}
	if (*n < MAX_TERMS)
		terms[(*n)++] = pnstrdup(text, len);
}

/* One past the end of the keys and subscripts that follow the $ at c. */
static const char *
chain_end(const char *c)
{
	for (c++;;)
	{
		if (c[0] == '.' && c[1] == '"')
			c = skip_quoted(c + 1);
		else if (c[0] == '[')
			c = matching(c) + (*matching(c) != '\0');
		else
			return c;
	}
}

/* `$."cart"."total"` as a person writes it: cart.total */
static char *
plain_name(const char *chain, size_t len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (size_t i = 1; i < len; i++)
		if (chain[i] != '"' && !(i == 1 && chain[i] == '.'))
			appendStringInfoChar(&buf, chain[i]);
	return buf.data;
}

static JsonPath *
parse_path(const char *text)
{
	return DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)));
}

/* The values at a chain, as a JSON array. */
static Jsonb *
values_at(const char *chain, Jsonb *value)
{
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_path_query_array, JsonbPGetDatum(value),
											  PointerGetDatum(parse_path(chain)), JsonbPGetDatum(emk_json_parse("{}")),
											  BoolGetDatum(true)));
}

static void
append_clipped(StringInfo buf, const char *text)
{
	int			len = strlen(text);
	int			keep = pg_mbcliplen(text, len, MAX_VALUE_BYTES);

	appendBinaryStringInfo(buf, text, keep);
	if (keep < len)
		appendStringInfoString(buf, "...");
}

/* "amount is 40"; *is_text says that it is text where a number is wanted */
static void
say_value(StringInfo buf, const char *name, Jsonb *values, bool number_wanted, bool *is_text)
{
	int			n = JB_ROOT_COUNT(values);
	JsonbValue *v;

	*is_text = false;
	if (n == 0)
	{
		appendStringInfo(buf, "%s is missing", name);
		return;
	}
	if (n > 1)
	{
		appendStringInfo(buf, "%s is one of ", name);
		append_clipped(buf, JsonbToCString(NULL, &values->root, VARSIZE(values)));
		return;
	}
	v = getIthJsonbValueFromContainer(&values->root, 0);
	*is_text = number_wanted && v->type == jbvString;
	appendStringInfo(buf, "%s is %s", name, *is_text ? "text " : "");
	if (v->type == jbvBinary)
		append_clipped(buf, JsonbToCString(NULL, v->val.binary.data, v->val.binary.len));
	else
	{
		Jsonb	   *scalar = JsonbValueToJsonb(v);

		append_clipped(buf, JsonbToCString(NULL, &scalar->root, VARSIZE(scalar)));
	}
}

/* Does what follows a chain compare it with a number, as in ` >= 50`? */
static bool
wants_number(const char *rest)
{
	rest += strspn(rest, " ");
	if (strspn(rest, "<>=!") == 0)
		return false;
	rest += strspn(rest, "<>=!");
	rest += strspn(rest, " ");
	return *rest == '-' || (*rest >= '0' && *rest <= '9');
}

/* Why a term does not hold: the values it speaks of, and what it wants. */
static char *
say_term(const char *term, Jsonb *value)
{
	StringInfoData buf;
	const char *first_rest = NULL;	/* what follows a chain that begins the term */
	int			chains = 0;
	bool		any_text = false;
	char	   *text_name = NULL;

	initStringInfo(&buf);
	for (const char *c = term; *c;)
	{
		const char *end;
		char	   *name;
		bool		is_text;

		if (*c == '"')
		{
			c = skip_quoted(c);
			continue;
		}
		if (*c != '$')
		{
			c++;
			continue;
		}
		end = chain_end(c);
		if (c == term)
			first_rest = end;
		if (end > c + 1)
		{
			name = plain_name(c, end - c);
			if (chains++ > 0)
				appendStringInfoString(&buf, ", ");
			say_value(&buf, name, values_at(pnstrdup(c, end - c), value), wants_number(end), &is_text);
			if (is_text)
			{
				any_text = true;
				text_name = name;
			}
		}
		c = end;
	}
	if (chains == 1 && first_rest != NULL && *first_rest == ' ')
		appendStringInfo(&buf, ", wanted %s", first_rest + 1);
	else
		appendStringInfo(&buf, "%swanted %s", chains ? ", " : "", term);
	if (any_text)
		appendStringInfo(&buf, " (a number: write $.%s.double())", text_name);
	return buf.data;
}

bool
emk_admin_explain(JsonPath *path, Jsonb *value, EmkTermResult **terms, int *nterms)
{
	char	   *parts[MAX_TERMS];
	char	   *text;
	const char *mode = "";
	bool		all = true;

	*terms = NULL;
	*nterms = 0;
	if (path == NULL)
		return true;
	text = DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(path)));
	if (strncmp(text, "strict ", 7) == 0)
	{
		mode = "strict ";
		text += 7;
	}
	split(text, strlen(text), parts, nterms);
	*terms = palloc0(sizeof(EmkTermResult) * *nterms);
	for (int i = 0; i < *nterms; i++)
	{
		EmkTermResult *t = &(*terms)[i];
		JsonPath   *term = parse_path(psprintf("%s%s", mode, parts[i]));
		EmkCondition c;
		char	   *error = NULL;

		emk_rule_analyse(term, &c);
		t->term = parts[i];
		t->holds = emk_rule_test(term, c.cold, value, &error);
		if (!t->holds)
			t->said = error ? psprintf("%s: %s", parts[i], error) : say_term(parts[i], value);
		all &= t->holds;
	}
	return all;
}

char *
emk_admin_explain_reason(const EmkTermResult *terms, int nterms)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < nterms; i++)
		if (!terms[i].holds)
			appendStringInfo(&buf, "%s%s", buf.len ? "; " : "", terms[i].said);
	return buf.data;
}
