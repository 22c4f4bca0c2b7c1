/*
 * address.c: which addresses a socket may be opened to. Asked by curl's open-socket callback with the very address that is
 * about to be dialled, so no spelling of a host and no change of a name's addresses in between gets past it. Closed is
 * every network that is not the public Internet, unless eventmkt.allowed_networks names it.
 *
 * All addresses are compared as 128 bits; an IPv4 address is ::ffff:a.b.c.d. A peer that is dialled as IPv6 inside
 * ::ffff:0:0/96 is closed even where the IPv4 address within is public: nobody writes that in good faith.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "deliver/deliver.h"
#include "utils/guc.h"

typedef struct Network
{
	uint8		addr[16];
	int			bits;
} Network;

#define MAX_NETWORKS 256

typedef struct Networks
{
	int			n;
	Network		net[MAX_NETWORKS];
} Networks;

static const char *const closed_text[] = {
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	"5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"
};
static Network closed[lengthof(closed_text)];

static char *allowed_networks = NULL;
static Networks allowed;		/* a copy: a parallel worker frees the values of settings before it assigns them anew */
static int	generation = 0;		/* moves when `allowed` does */

static bool
parse(const char *text, size_t len, Network *out)
{
	char		buf[64];
	char	   *slash;
	char	   *end;
	int			offset = 0;
	long		bits;

	if (len == 0 || len >= sizeof(buf))
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	memset(out, 0, sizeof(*out));
	slash = strchr(buf, '/');
	if (slash != NULL)
		*slash++ = '\0';
	if (inet_pton(AF_INET, buf, out->addr + 12) == 1)
	{
		offset = 96;
		out->addr[10] = out->addr[11] = 0xff;
	}
	else if (inet_pton(AF_INET6, buf, out->addr) != 1)
		return false;
	bits = 128 - offset;
	if (slash != NULL)
	{
		bits = strtol(slash, &end, 10);
		if (end == slash || *end || *slash == '-' || *slash == '+' || bits > 128 - offset)
			return false;
	}
	out->bits = bits + offset;
	return true;
}

static bool
contains(const Network *net, const uint8 *addr)
{
	int			bytes = net->bits / 8;
	int			rest = net->bits % 8;

	return memcmp(net->addr, addr, bytes) == 0 &&
		(rest == 0 || ((net->addr[bytes] ^ addr[bytes]) & (0xff00 >> rest) & 0xff) == 0);
}

static bool
flatten(const struct sockaddr *addr, uint8 *out)
{
	memset(out, 0, 16);
	if (addr->sa_family == AF_INET)
	{
		out[10] = out[11] = 0xff;
		memcpy(out + 12, &((const struct sockaddr_in *) addr)->sin_addr, 4);
		return true;
	}
	if (addr->sa_family == AF_INET6)
	{
		memcpy(out, &((const struct sockaddr_in6 *) addr)->sin6_addr, 16);
		return true;
	}
	return false;
}

bool
emk_address_allowed(const struct sockaddr *addr)
{
	static const Network mapped = {{[10] = 0xff, [11] = 0xff}, 96};
	uint8		bytes[16];

	if (!flatten(addr, bytes))
		return false;
	for (int i = 0; i < allowed.n; i++)
		if (contains(&allowed.net[i], bytes))
			return true;
	if (addr->sa_family == AF_INET6 && contains(&mapped, bytes))
		return false;
	for (int i = 0; i < lengthof(closed); i++)
		if (contains(&closed[i], bytes))
			return false;
	return true;
}

bool
emk_address_is_loopback(const struct sockaddr *addr)
{
	static const Network v4 = {{[10] = 0xff, [11] = 0xff, [12] = 127}, 104};
	static const Network v6 = {{[15] = 1}, 128};
	uint8		bytes[16];

	return flatten(addr, bytes) && (contains(&v4, bytes) || contains(&v6, bytes));
}

static bool
check_allowed(char **newval, void **extra, GucSource source)
{
	Networks   *list;
	const char *p = *newval ? *newval : "";

	list = emk_guc_malloc(sizeof(Networks));
	if (list == NULL)
		return false;
	list->n = 0;
	for (;;)
	{
		size_t		len;

		p += strspn(p, ", \t\r\n");
		len = strcspn(p, ", \t\r\n");
		if (len == 0)
			break;
		if (list->n == MAX_NETWORKS || !parse(p, len, &list->net[list->n]))
		{
			GUC_check_errdetail("\"%.*s\" is not an address or network, or there are more than %d of them.",
								(int) Min(len, 64), p, MAX_NETWORKS);
			GUC_check_errhint("Write a list such as \"127.0.0.0/8, 10.1.0.0/16, fd00::/8\".");
			emk_guc_free(list);
			return false;
		}
		list->n++;
		p += len;
	}
	*extra = list;
	return true;
}

/* Every reload of the configuration assigns the setting again: what is the same makes no connection stale. */
static void
assign_allowed(const char *newval, void *extra)
{
	const Networks *list = extra;

	if (list->n == allowed.n && memcmp(list->net, allowed.net, list->n * sizeof(Network)) == 0)
		return;
	generation++;
	allowed.n = list->n;
	memcpy(allowed.net, list->net, list->n * sizeof(Network));
}

int
emk_address_generation(void)
{
	return generation;
}

void
emk_address_init(void)
{
	for (int i = 0; i < lengthof(closed); i++)
		if (!parse(closed_text[i], strlen(closed_text[i]), &closed[i]))
			elog(ERROR, "malformed network in the table: %s", closed_text[i]);
	DefineCustomStringVariable("eventmkt.allowed_networks",
							   "Private networks that endpoints may lie in, as a list of addresses and CIDR networks.",
							   "Without it only public addresses are dialled.",
							   &allowed_networks, "", PGC_SUSET, 0, check_allowed, assign_allowed, NULL);
}
