/*
 * property.c: a property of an event as a typed value, for the views of expose.c. What does not convert is NULL: events are
 * written by apps, and one odd value must not make a report fail. So nothing here raises an error on data, and nothing
 * depends on a setting: all functions are IMMUTABLE.
 *
 *   numbers   JSON numbers, and strings that are nothing but a decimal number. Whole types take whole values only: 3.0 is 3,
 *             2.5 is NULL, and so is what is out of range.
 *   boolean   JSON true and false, and the words PostgreSQL takes: 'yes', 'off', 1, …
 *   times     ISO 8601: YYYY-MM-DD, then optionally T or a space, HH:MM[:SS[.fraction]], and Z or an offset. Without
 *             one the time is UTC. A date is taken as it is written. Words (`now`), ambiguous orders (01/02/2026) and numbers are NULL.
 */
#include "postgres.h"

#include <math.h>

#include "base/base.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define MAX_NUMBER_BYTES 1000
#define MAX_EXPONENT 9999
#define MAX_STAMP_BYTES 40

/* The value at args (properties, property); NULL: there is none. The functions are STRICT. */
static JsonbValue *
find(FunctionCallInfo fcinfo)
{
	Jsonb	   *jb = PG_GETARG_JSONB_P(0);
	text	   *name = PG_GETARG_TEXT_PP(1);

	if (!JB_ROOT_IS_OBJECT(jb))
		return NULL;
	return getKeyJsonValueFromContainer(&jb->root, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), NULL);
}

/* The string without spaces around it, NUL-terminated in `buf` of `size`; false: it is longer. */
static bool
trimmed(const JsonbValue *v, char *buf, int size)
{
	const char *s = v->val.string.val;
	int			len = v->val.string.len;

	while (len > 0 && (*s == ' ' || *s == '\t'))
		s++, len--;
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (len >= size)
		return false;
	memcpy(buf, s, len);
	buf[len] = '\0';
	return true;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* [+-] digits [. digits] [e [+-] digits], so that numeric_in() takes it without an error */
static bool
is_number(const char *s)
{
	int			digits = 0;

	s += *s == '-' || *s == '+';
	for (; is_digit(*s); s++)
		digits++;
	if (*s == '.')
		for (s++; is_digit(*s); s++)
			digits++;
	if (digits == 0)
		return false;
	if (*s == 'e' || *s == 'E')
	{
		int			exponent = 0;
		const char *first;

		s++;
		s += *s == '-' || *s == '+';
		for (first = s; is_digit(*s) && exponent <= MAX_EXPONENT; s++)
			exponent = exponent * 10 + (*s - '0');
		if (s == first || exponent > MAX_EXPONENT)
			return false;
	}
	return *s == '\0';
}

static bool
number(FunctionCallInfo fcinfo, Numeric *n)
{
	JsonbValue *v = find(fcinfo);
	char		buf[MAX_NUMBER_BYTES];

	if (v != NULL && v->type == jbvNumeric)
		*n = v->val.numeric;
	else if (v != NULL && v->type == jbvString && trimmed(v, buf, sizeof(buf)) && is_number(buf))
		*n = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(buf), ObjectIdGetDatum(InvalidOid),
												 Int32GetDatum(-1)));
	else
		return false;
	return true;
}

/* A whole number from low to high */
static bool
whole(FunctionCallInfo fcinfo, int64 low, int64 high, int64 *out)
{
	Numeric		n;
	Datum		d;

	if (!number(fcinfo, &n))
		return false;
	d = NumericGetDatum(n);
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, d, NumericGetDatum(int64_to_numeric(low)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, d, NumericGetDatum(int64_to_numeric(high)))))
		return false;
	*out = DatumGetInt64(DirectFunctionCall1(numeric_int8, d));		/* in range, so this rounds and no more */
	return DatumGetBool(DirectFunctionCall2(numeric_eq, d, NumericGetDatum(int64_to_numeric(*out))));
}

PG_FUNCTION_INFO_V1(emk_report_property_numeric);
/* eventmkt.property_numeric(properties jsonb, property text) → numeric */
Datum
emk_report_property_numeric(PG_FUNCTION_ARGS)
{
	Numeric		n;

	if (!number(fcinfo, &n))
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(n);
}

PG_FUNCTION_INFO_V1(emk_report_property_double);
/* eventmkt.property_double(properties jsonb, property text) → double precision */
Datum
emk_report_property_double(PG_FUNCTION_ARGS)
{
	Numeric		n;
	double		d;

	if (!number(fcinfo, &n))
		PG_RETURN_NULL();
	d = strtod(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(n))), NULL);
	if (isinf(d) || isnan(d))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(d);
}

PG_FUNCTION_INFO_V1(emk_report_property_bigint);
/* eventmkt.property_bigint(properties jsonb, property text) → bigint */
Datum
emk_report_property_bigint(PG_FUNCTION_ARGS)
{
	int64		i;

	if (!whole(fcinfo, PG_INT64_MIN, PG_INT64_MAX, &i))
		PG_RETURN_NULL();
	PG_RETURN_INT64(i);
}

PG_FUNCTION_INFO_V1(emk_report_property_integer);
/* eventmkt.property_integer(properties jsonb, property text) → integer */
Datum
emk_report_property_integer(PG_FUNCTION_ARGS)
{
	int64		i;

	if (!whole(fcinfo, PG_INT32_MIN, PG_INT32_MAX, &i))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) i);
}

PG_FUNCTION_INFO_V1(emk_report_property_boolean);
/* eventmkt.property_boolean(properties jsonb, property text) → boolean */
Datum
emk_report_property_boolean(PG_FUNCTION_ARGS)
{
	JsonbValue *v = find(fcinfo);
	char		buf[8];
	int64		i;
	bool		b;

	if (v != NULL && v->type == jbvBool)
		PG_RETURN_BOOL(v->val.boolean);
	if (v != NULL && v->type == jbvString && trimmed(v, buf, sizeof(buf)) && parse_bool(buf, &b))
		PG_RETURN_BOOL(b);
	if (v != NULL && v->type == jbvNumeric && whole(fcinfo, 0, 1, &i))
		PG_RETURN_BOOL(i == 1);
	PG_RETURN_NULL();
}

/* Exactly n digits → *value, *s moved behind them */
static bool
take_digits(const char **s, int n, int *value)
{
	*value = 0;
	for (int i = 0; i < n; i++, (*s)++)
	{
		if (!is_digit(**s))
			return false;
		*value = *value * 10 + (**s - '0');
	}
	return true;
}

/* HH:MM[:SS[.fraction]] → microseconds of the day */
static bool
take_time(const char **s, int64 *time)
{
	int			h,
				m,
				sec = 0;
	int64		micros = 0;
	int64		unit = USECS_PER_SEC / 10;

	if (!take_digits(s, 2, &h) || *(*s)++ != ':' || !take_digits(s, 2, &m) || h > 23 || m > 59)
		return false;
	if (**s == ':')
	{
		(*s)++;
		if (!take_digits(s, 2, &sec) || sec > 60)
			return false;
		if ((**s == '.' || **s == ',') && is_digit((*s)[1]))
			for ((*s)++; is_digit(**s); (*s)++, unit /= 10)
				micros += (**s - '0') * unit;
	}
	*time = ((h * INT64CONST(60) + m) * 60 + sec) * USECS_PER_SEC + micros;
	return true;
}

/* Z, +HH, +HHMM, +HH:MM, or nothing → what UTC is behind, microseconds */
static bool
take_zone(const char **s, int64 *offset)
{
	int			sign = **s == '-' ? -1 : 1;
	int			h,
				m = 0;

	*offset = 0;
	if (**s == '\0')
		return true;
	if (**s == 'Z' || **s == 'z')
	{
		(*s)++;
		return true;
	}
	if (**s != '+' && **s != '-')
		return false;
	(*s)++;
	if (!take_digits(s, 2, &h))
		return false;
	if (**s == ':')
		(*s)++;
	if (**s != '\0' && !take_digits(s, 2, &m))
		return false;
	*offset = sign * (h * INT64CONST(60) + m) * 60 * USECS_PER_SEC;
	return h <= 15 && m <= 59;
}

static bool
stamp(FunctionCallInfo fcinfo, DateADT *date, TimestampTz *at)
{
	JsonbValue *v = find(fcinfo);
	char		buf[MAX_STAMP_BYTES];
	const char *s = buf;
	int			year,
				month,
				day;
	int64		time = 0;
	int64		offset = 0;

	if (v == NULL || v->type != jbvString || !trimmed(v, buf, sizeof(buf)))
		return false;
	if (!take_digits(&s, 4, &year) || *s++ != '-' || !take_digits(&s, 2, &month) || *s++ != '-' || !take_digits(&s, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	if (*s == 'T' || *s == 't' || *s == ' ')
	{
		s++;
		if (!take_time(&s, &time))
			return false;
		s += *s == ' ';
		if (!take_zone(&s, &offset))
			return false;
	}
	if (*s != '\0')
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	*at = *date * USECS_PER_DAY + time - offset;
	return true;
}

PG_FUNCTION_INFO_V1(emk_report_property_date);
/* eventmkt.property_date(properties jsonb, property text) → date */
Datum
emk_report_property_date(PG_FUNCTION_ARGS)
{
	DateADT		date;
	TimestampTz at;

	if (!stamp(fcinfo, &date, &at))
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(date);
}

PG_FUNCTION_INFO_V1(emk_report_property_timestamptz);
/* eventmkt.property_timestamptz(properties jsonb, property text) → timestamptz */
Datum
emk_report_property_timestamptz(PG_FUNCTION_ARGS)
{
	DateADT		date;
	TimestampTz at;

	if (!stamp(fcinfo, &date, &at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}
