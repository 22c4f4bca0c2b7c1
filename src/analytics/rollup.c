/*
 * rollup.c: what one person did in a period, in a few hundred bytes: the days with an event, how often each event came and what its
 * numbers add up to, and the same by item. Two of them of the same person add up to that of both periods, in any order, so a year
 * is twelve months merged, and a month grows by a day at a time.
 *
 * Words
 *   item   a text that an event may carry (a product): counted as names are; at most EMK_MAX_ROLLUP_ITEMS are kept, the most
 *          frequent ones, and then the roll-up says that it left some out
 *   sum    of numbers rounded to a millionth, kept as a 128-bit number of millionths: exact, whatever the order
 *
 * Stored form (bytea): version, flags, days, names, items; numbers as varints, lists with their length before them, days as the first
 * and the distances, texts sorted by bytes. Anything else is refused as malformed: the form may come from anywhere.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define VERSION 1
#define FLAG_MORE 1				/* items were left out */
#define MILLION 1000000

typedef struct Entry
{
	const char *text;
	int			len;
	int64		count;
	int128		sum;
} Entry;

typedef struct Entries
{
	Entry	   *v;
	int			n;
	int			room;
} Entries;

typedef struct Rollup
{
	int32	   *days;			/* since 2000-01-01 UTC, ascending */
	int			ndays;
	int			days_room;
	Entries		names;
	Entries		items;
	bool		more;
} Rollup;

static void
malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("malformed roll-up"),
			 errhint("Take roll-ups from eventmkt_bi.rollup_parts or the aggregate eventmkt.rollup().")));
}

/* ---- reading ---- */

static uint128
take_number(const uint8 **p, const uint8 *end)
{
	uint128		n = 0;

	for (int shift = 0; shift < 128; shift += 7)
	{
		uint8		b;

		if (*p == end)
			malformed();
		b = *(*p)++;
		n |= (uint128) (b & 0x7f) << shift;
		if (b < 0x80)
			return n;
	}
	malformed();
	return 0;
}

/* A length of things that take at least a byte each */
static int
take_length(const uint8 **p, const uint8 *end)
{
	uint128		n = take_number(p, end);

	if (n > (uint128) (end - *p))
		malformed();
	return (int) n;
}

static int
compare_text(const char *a, int alen, const char *b, int blen)
{
	int			c = memcmp(a, b, Min(alen, blen));

	return c != 0 ? c : (alen > blen) - (alen < blen);
}

static void
take_entries(const uint8 **p, const uint8 *end, Entries *out)
{
	out->n = out->room = take_length(p, end);
	out->v = palloc(sizeof(Entry) * Max(out->n, 1));
	for (int i = 0; i < out->n; i++)
	{
		Entry	   *e = &out->v[i];
		uint128		n;

		e->len = take_length(p, end);
		e->text = (const char *) *p;
		*p += e->len;
		n = take_number(p, end);
		if (n > PG_INT64_MAX ||
			(i > 0 && compare_text(out->v[i - 1].text, out->v[i - 1].len, e->text, e->len) >= 0))
			malformed();
		e->count = (int64) n;
		n = take_number(p, end);
		e->sum = (int128) (n >> 1) ^ -(int128) (n & 1);
	}
}

/* Texts point into the stored form. */
static void
unpack(bytea *stored, Rollup *r)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(stored);
	const uint8 *end = p + VARSIZE_ANY_EXHDR(stored);
	int64		day = 0;

	memset(r, 0, sizeof(*r));
	if (end - p < 2 || p[0] != VERSION || p[1] > FLAG_MORE)
		malformed();
	r->more = (p[1] & FLAG_MORE) != 0;
	p += 2;
	r->ndays = r->days_room = take_length(&p, end);
	r->days = palloc(sizeof(int32) * Max(r->ndays, 1));
	for (int i = 0; i < r->ndays; i++)
	{
		uint128		n = take_number(&p, end);

		if (n > PG_UINT32_MAX)
			malformed();
		day = i == 0 ? (int64) (n >> 1) ^ -(int64) (n & 1) : day + (int64) n + 1;
		if (day > PG_INT32_MAX - 1 || day < PG_INT32_MIN + 1)
			malformed();
		r->days[i] = (int32) day;
	}
	take_entries(&p, end, &r->names);
	take_entries(&p, end, &r->items);
	if (p != end)
		malformed();
}

/* ---- writing ---- */

static inline char *
put_number(char *to, uint128 n)
{
	for (; n >= 0x80; n >>= 7)
		*to++ = (char) (n | 0x80);
	*to++ = (char) n;
	return to;
}

static char *
put_entries(char *to, const Entries *list)
{
	to = put_number(to, list->n);
	for (int i = 0; i < list->n; i++)
	{
		const Entry *e = &list->v[i];

		to = put_number(to, e->len);
		memcpy(to, e->text, e->len);
		to = put_number(to + e->len, e->count);
		to = put_number(to, ((uint128) e->sum << 1) ^ (uint128) (e->sum >> 127));
	}
	return to;
}

static Size
room_of(const Entries *list)
{
	Size		n = 10;

	for (int i = 0; i < list->n; i++)
		n += list->v[i].len + 5 + 10 + 19;
	return n;
}

static bytea *
pack(const Rollup *r)
{
	Size		room = VARHDRSZ + 2 + 5 * (Size) (r->ndays + 1) + room_of(&r->names) + room_of(&r->items);
	bytea	   *stored = palloc(room);
	char	   *to = VARDATA(stored);

	*to++ = VERSION;
	*to++ = r->more ? FLAG_MORE : 0;
	to = put_number(to, r->ndays);
	for (int i = 0; i < r->ndays; i++)
		to = put_number(to, i == 0 ? ((uint32) r->days[0] << 1) ^ (uint32) (r->days[0] >> 31) :
						(uint32) (r->days[i] - r->days[i - 1] - 1));
	to = put_entries(to, &r->names);
	to = put_entries(to, &r->items);
	SET_VARSIZE(stored, to - (char *) stored);
	return stored;
}

/* ---- adding ---- */

static void
add_entry(Entry *to, const Entry *e)
{
	if (pg_add_s64_overflow(to->count, e->count, &to->count))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("count out of range")));
	to->sum = (int128) ((uint128) to->sum + (uint128) e->sum);
}

static int
compare_rank(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return compare_text(x->text, x->len, y->text, y->len);
}

static int
compare_entries(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;

	return compare_text(x->text, x->len, y->text, y->len);
}

static void
bound_items(Rollup *r)
{
	if (r->items.n <= EMK_MAX_ROLLUP_ITEMS)
		return;
	qsort(r->items.v, r->items.n, sizeof(Entry), compare_rank);
	r->items.n = EMK_MAX_ROLLUP_ITEMS;
	qsort(r->items.v, r->items.n, sizeof(Entry), compare_entries);
	r->more = true;
}

static void
merge_entries(const Entries *a, const Entries *b, Entries *out)
{
	int			i = 0;
	int			j = 0;

	out->room = a->n + b->n;
	out->v = palloc(sizeof(Entry) * Max(out->room, 1));
	out->n = 0;
	while (i < a->n || j < b->n)
	{
		int			c = i == a->n ? 1 : j == b->n ? -1 : compare_entries(&a->v[i], &b->v[j]);

		out->v[out->n] = c <= 0 ? a->v[i++] : b->v[j];
		if (c == 0)
			add_entry(&out->v[out->n], &b->v[j]);
		j += c >= 0;
		out->n++;
	}
}

static void
merge(const Rollup *a, const Rollup *b, Rollup *out)
{
	int			i = 0;
	int			j = 0;

	memset(out, 0, sizeof(*out));
	out->days = palloc(sizeof(int32) * Max(a->ndays + b->ndays, 1));
	while (i < a->ndays || j < b->ndays)
	{
		int64		x = i < a->ndays ? a->days[i] : PG_INT64_MAX;
		int64		y = j < b->ndays ? b->days[j] : PG_INT64_MAX;

		out->days[out->ndays++] = (int32) Min(x, y);
		i += x <= y;
		j += y <= x;
	}
	merge_entries(&a->names, &b->names, &out->names);
	merge_entries(&a->items, &b->items, &out->items);
	out->more = a->more || b->more;
	bound_items(out);
}

PG_FUNCTION_INFO_V1(emk_analytics_rollup_merge);
/* rollup_merge(a, b): also the transition of merge_rollups() */
Datum
emk_analytics_rollup_merge(PG_FUNCTION_ARGS)
{
	Rollup		a;
	Rollup		b;
	Rollup		both;

	unpack(PG_GETARG_BYTEA_PP(0), &a);
	unpack(PG_GETARG_BYTEA_PP(1), &b);
	merge(&a, &b, &both);
	PG_RETURN_BYTEA_P(pack(&both));
}

/* Finds an entry, or makes room for it in its place; the list owns its texts. */
static Entry *
entry_for(Entries *list, const char *text, int len)
{
	int			low = 0;
	int			high = list->n;

	while (low < high)
	{
		int			mid = (low + high) / 2;
		int			c = compare_text(list->v[mid].text, list->v[mid].len, text, len);

		if (c == 0)
			return &list->v[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (list->n == list->room)
	{
		list->room = Max(8, list->room * 2);
		list->v = list->v == NULL ? palloc(sizeof(Entry) * list->room) : repalloc(list->v, sizeof(Entry) * list->room);
	}
	memmove(list->v + low + 1, list->v + low, sizeof(Entry) * (list->n - low));
	list->n++;
	list->v[low] = (Entry) {.text = memcpy(palloc(Max(len, 1)), text, len), .len = len};
	return &list->v[low];
}

static void
add_day(Rollup *r, int32 day)
{
	int			at = r->ndays;

	while (at > 0 && r->days[at - 1] > day)
		at--;
	if (at > 0 && r->days[at - 1] == day)
		return;
	if (r->ndays == r->days_room)
	{
		r->days_room = Max(8, r->days_room * 2);
		r->days = r->days == NULL ? palloc(sizeof(int32) * r->days_room) : repalloc(r->days, sizeof(int32) * r->days_room);
	}
	memmove(r->days + at + 1, r->days + at, sizeof(int32) * (r->ndays - at));
	r->days[at] = day;
	r->ndays++;
}

/* In millionths */
static int128
millionths(Numeric value)
{
	Datum		n = DirectFunctionCall2(numeric_mul, NumericGetDatum(value), NumericGetDatum(int64_to_numeric(MILLION)));

	return DatumGetInt64(DirectFunctionCall1(numeric_int8, DirectFunctionCall2(numeric_round, n, Int32GetDatum(0))));
}

PG_FUNCTION_INFO_V1(emk_analytics_rollup_add);
/* rollup_add(state, at, event, item, value) */
Datum
emk_analytics_rollup_add(PG_FUNCTION_ARGS)
{
	MemoryContext aggregate;
	MemoryContext old;
	Rollup	   *r = PG_ARGISNULL(0) ? NULL : (Rollup *) PG_GETARG_POINTER(0);
	int128		value = 0;
	TimestampTz at;
	int64		day;
	text	   *t;
	Entry	   *e;

	if (!AggCheckCallContext(fcinfo, &aggregate))
		elog(ERROR, "rollup_add is part of an aggregate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
	{
		if (r == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(r);
	}
	if (!PG_ARGISNULL(4) && !numeric_is_nan(PG_GETARG_NUMERIC(4)) && !numeric_is_inf(PG_GETARG_NUMERIC(4)))
		value = millionths(PG_GETARG_NUMERIC(4));
	at = PG_GETARG_TIMESTAMPTZ(1);
	day = at / USECS_PER_DAY - (at % USECS_PER_DAY < 0);
	old = MemoryContextSwitchTo(aggregate);
	if (r == NULL)
		r = palloc0(sizeof(Rollup));
	add_day(r, (int32) day);
	t = PG_GETARG_TEXT_PP(2);
	e = entry_for(&r->names, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
	e->count++;
	e->sum += value;
	if (!PG_ARGISNULL(3))
	{
		t = PG_GETARG_TEXT_PP(3);
		e = entry_for(&r->items, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
		e->count++;
		e->sum += value;
		if (r->items.n >= 2 * EMK_MAX_ROLLUP_ITEMS)
			bound_items(r);
	}
	MemoryContextSwitchTo(old);
	PG_RETURN_POINTER(r);
}

PG_FUNCTION_INFO_V1(emk_analytics_rollup_end);
Datum
emk_analytics_rollup_end(PG_FUNCTION_ARGS)
{
	Rollup		r;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	r = *(Rollup *) PG_GETARG_POINTER(0);
	if (r.items.n > EMK_MAX_ROLLUP_ITEMS)
	{
		r.items.v = memcpy(palloc(sizeof(Entry) * r.items.n), r.items.v, sizeof(Entry) * r.items.n);
		bound_items(&r);
	}
	PG_RETURN_BYTEA_P(pack(&r));
}

/* ---- telling ---- */

static void
append_text(StringInfo buf, const char *text, int len)
{
	/* before it is copied: the copy of a text that holds a NUL is shorter than its length says */
	pg_verifymbstr(text, len, false);
	escape_json(buf, pnstrdup(text, len));
}

/* Millionths as a decimal number without trailing zeros */
static void
append_sum(StringInfo buf, int128 sum)
{
	uint128		n = sum < 0 ? -(uint128) sum : (uint128) sum;
	uint32		fraction = (uint32) (n % MILLION);
	char		digits[48];
	int			at = sizeof(digits) - 1;

	digits[at] = '\0';
	n /= MILLION;
	do
		digits[--at] = '0' + (char) (n % 10);
	while ((n /= 10) > 0);
	appendStringInfo(buf, "%s%s", sum < 0 ? "-" : "", digits + at);
	if (fraction == 0)
		return;
	snprintf(digits, sizeof(digits), ".%06u", fraction);
	for (at = 6; digits[at] == '0'; at--)
		digits[at] = '\0';
	appendStringInfoString(buf, digits);
}

static void
append_entries(StringInfo buf, const char *key, const Entries *list, bool sums)
{
	bool		any = false;

	appendStringInfo(buf, ", \"%s\": {", key);
	for (int i = 0; i < list->n; i++)
	{
		if (sums && list->v[i].sum == 0)
			continue;
		if (any)
			appendStringInfoString(buf, ", ");
		any = true;
		append_text(buf, list->v[i].text, list->v[i].len);
		appendStringInfoString(buf, ": ");
		if (sums)
			append_sum(buf, list->v[i].sum);
		else
			appendStringInfo(buf, INT64_FORMAT, list->v[i].count);
	}
	appendStringInfoChar(buf, '}');
}

static void
append_day(StringInfo buf, const char *key, int32 day)
{
	int			year,
				month,
				mday;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	appendStringInfo(buf, ", \"%s\": \"%04d-%02d-%02d\"", key, year, month, mday);
}

static void
append_top(StringInfo buf, Rollup *r, int top)
{
	qsort(r->items.v, r->items.n, sizeof(Entry), compare_rank);
	appendStringInfo(buf, ", \"items\": %d, \"items_complete\": %s, \"top_items\": [", r->items.n, r->more ? "false" : "true");
	for (int i = 0; i < Min(top, r->items.n); i++)
	{
		appendStringInfoString(buf, i > 0 ? ", {\"item\": " : "{\"item\": ");
		append_text(buf, r->items.v[i].text, r->items.v[i].len);
		appendStringInfo(buf, ", \"count\": " INT64_FORMAT ", \"sum\": ", r->items.v[i].count);
		append_sum(buf, r->items.v[i].sum);
		appendStringInfoChar(buf, '}');
	}
	appendStringInfoChar(buf, ']');
}

PG_FUNCTION_INFO_V1(emk_analytics_rollup_json);
/* rollup_json(rollup, top): what it says, for people and messages */
Datum
emk_analytics_rollup_json(PG_FUNCTION_ARGS)
{
	int			top = PG_GETARG_INT32(1);
	StringInfoData buf;
	Rollup		r;
	int64		events = 0;
	int128		sum = 0;
	int			streak = 0;
	int			longest = 0;

	unpack(PG_GETARG_BYTEA_PP(0), &r);
	for (int i = 0; i < r.names.n; i++)
	{
		if (pg_add_s64_overflow(events, r.names.v[i].count, &events))
			malformed();
		sum = (int128) ((uint128) sum + (uint128) r.names.v[i].sum);
	}
	for (int i = 0; i < r.ndays; i++)
	{
		streak = i > 0 && r.days[i] - r.days[i - 1] == 1 ? streak + 1 : 1;
		longest = Max(longest, streak);
	}
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"events\": " INT64_FORMAT ", \"active_days\": %d, \"longest_streak\": %d", events, r.ndays, longest);
	if (r.ndays > 0)
	{
		append_day(&buf, "first_day", r.days[0]);
		append_day(&buf, "last_day", r.days[r.ndays - 1]);
	}
	appendStringInfoString(&buf, ", \"sum\": ");
	append_sum(&buf, sum);
	append_entries(&buf, "counts", &r.names, false);
	append_entries(&buf, "sums", &r.names, true);
	append_top(&buf, &r, top);
	appendStringInfoChar(&buf, '}');
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}
