/*
 * gen.c: events of a shop, the same ones for the same arguments: gen EVENTS [SEED] > events.tsv
 *
 * Columns: event id, profile, event name, occurred_at in seconds of Unix time, cart, amount; \N for none; ordered by time, as
 * an event table fills. About 20.4 events a profile over 90 days. Skew as in shops: how much a person does follows a power law, so most
 * do little and some do hundreds of things; visits come in sessions, by day more than by night; each step of the way to an
 * order loses most people. Times are whole seconds because one of the peers knows no other.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define DAYS		90
#define FROM		1704067200		/* 2024-01-01 00:00 UTC */
#define NO_CART		UINT32_MAX

typedef struct Event
{
	uint32_t	at;				/* seconds after FROM */
	uint32_t	profile;
	uint32_t	cart;
	uint32_t	amount;			/* cents, 0 for none */
	uint32_t	order;			/* keeps the sort stable */
	uint8_t		name;
} Event;

static const char *const names[] = {"Page Viewed", "Product Viewed", "Product Added", "Checkout Started",
"Order Completed", "Email Opened"};

static uint64_t state;

static uint64_t
next(void)
{
	uint64_t	z = (state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return z ^ z >> 31;
}

static double
uniform(void)
{
	return (next() >> 11) * (1.0 / 9007199254740992.0);
}

static int
by_time(const void *a, const void *b)
{
	const Event *x = a;
	const Event *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static Event *events;
static uint64_t total;
static uint64_t n;
static uint32_t carts;

static void
add(uint32_t profile, uint32_t at, int name, uint32_t cart, uint32_t amount)
{
	if (n < total)
	{
		events[n] = (Event) {.at = at, .profile = profile, .cart = cart, .amount = amount, .order = (uint32_t) n, .name = name};
		n++;
	}
}

/* One visit; returns the number of events */
static int
visit(uint32_t profile)
{
	static const double hours[24] = {.25, .15, .1, .1, .1, .15, .3, .5, .7, .8, .9, .95, 1, .95, .9, .9, .9, .95, 1, 1, 1, .9, .7, .45};
	uint32_t	at;
	uint32_t	cart = NO_CART;
	uint64_t	before = n;
	int			looks = 1 + (int) (-log(1 - uniform()) * 3);

	do
		at = (uint32_t) (uniform() * DAYS * 86400);
	while (uniform() > hours[at / 3600 % 24]);
	if (uniform() < 0.06)
		add(profile, at++, 5, NO_CART, 0);
	for (int i = 0; i < looks && i < 40; i++)
	{
		at += (uint32_t) (-log(1 - uniform()) * 45);
		if (uniform() < 0.35)
			add(profile, at, 0, NO_CART, 0);
		else
		{
			add(profile, at, 1, NO_CART, 0);
			if (uniform() < 0.18)
			{
				if (cart == NO_CART)
					cart = carts++;
				at += 5 + (uint32_t) (uniform() * 40);
				add(profile, at, 2, cart, 199 + (uint32_t) (exp(uniform() * 5) * 100));
			}
		}
	}
	if (cart != NO_CART && uniform() < 0.45)
	{
		at += 10 + (uint32_t) (uniform() * 200);
		add(profile, at, 3, cart, 0);
		if (uniform() < 0.6)
		{
			at += (uint32_t) (uniform() < 0.15 ? uniform() * 172800 : 30 + uniform() * 300);
			add(profile, at, 4, cart, 999 + (uint32_t) (exp(uniform() * 5) * 150));
		}
	}
	return (int) (n - before);
}

int
main(int argc, char **argv)
{
	uint32_t	profile = 0;

	total = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 42;
	events = malloc((total + 1) * sizeof(Event));
	if (!events)
		return 1;
	while (n < total)
	{
		/* a power law with mean 20.4: twice the number of visits makes a quarter of the people */
		double		goal = 5.45 / pow(1 - uniform() * 0.9999, 0.69);

		for (int done = 0; done < goal && n < total;)
			done += visit(profile);
		profile++;
	}
	qsort(events, n, sizeof(Event), by_time);
	for (uint64_t i = 0; i < n; i++)
	{
		const Event *e = &events[i];

		printf("%" PRIu64 "\tu%07u\t%s\t%u\t", i + 1, e->profile, names[e->name], FROM + e->at);
		if (e->cart == NO_CART)
			fputs("\\N\t", stdout);
		else
			printf("cart_%u\t", e->cart);
		if (e->amount == 0)
			puts("\\N");
		else
			printf("%u.%02u\n", e->amount / 100, e->amount % 100);
	}
	return 0;
}
