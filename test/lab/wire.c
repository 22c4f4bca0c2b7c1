/*
 * wire.c: a network that is bad on purpose, for tests without privileges.
 *
 *   wire DEVICE       DEVICE is one end of a veth pair with an address, DEVICEp the other end without one
 *
 * What this machine sends to another address of DEVICE's network comes out of DEVICEp, is taken by a packet socket, and goes back
 * in with source and destination exchanged. So a connection to 10.77.0.2 arrives at 10.77.0.1, as if from 10.77.0.2: both its
 * ends are sockets of one kernel, with a real wire between them, and neither a second namespace nor a TUN device is needed.
 *
 * Commands come on standard input, a line each. A line of faults replaces all earlier ones; an empty line mends everything.
 *
 *   loss=P            of all packets, in both directions
 *   syn=P             of those with SYN
 *   reset=P           of those with data towards the end that accepted: both ends get a RST instead
 *   delay=MS jitter=MS    one way, plus or minus; so packets overtake each other
 *   dup=P             arrive twice
 *   rate=BITS         a second and direction; what would wait for longer than a second is dropped
 *   vanish=1          the host that accepts: hands are shaken, then nothing arrives there or comes from there. When that is
 *                     over it knows these connections no more: RST
 *   cut=1             nothing passes
 *   down=1            DEVICE itself is down
 *   ?                 answers `passed N lost N reset N twice N`
 *
 * The end of standard input is ours. What is lost follows from a fixed seed and the packets.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FRAME	2048
#define MAX_WAITING	32768
#define QUEUE_US	1000000

typedef struct Packet
{
	int64_t		due;			/* monotonic, microseconds */
	uint64_t	order;
	int			length;
	unsigned char *bytes;
} Packet;

typedef struct Faults
{
	double		loss;
	double		syn;
	double		reset;
	double		delay;
	double		jitter;
	double		dup;
	double		rate;
	double		vanish;
	double		cut;
	double		down;
} Faults;

static const struct
{
	const char *name;
	size_t		offset;
}			faults_known[] = {
	{"loss", offsetof(Faults, loss)}, {"syn", offsetof(Faults, syn)}, {"reset", offsetof(Faults, reset)},
	{"delay", offsetof(Faults, delay)}, {"jitter", offsetof(Faults, jitter)}, {"dup", offsetof(Faults, dup)},
	{"rate", offsetof(Faults, rate)}, {"vanish", offsetof(Faults, vanish)}, {"cut", offsetof(Faults, cut)},
	{"down", offsetof(Faults, down)}
};

static int	wire;
static const char *device;
static Faults faults;
static Packet heap[MAX_WAITING];
static int	waiting = 0;
static uint64_t order = 0;
static uint64_t seed = 88172645463325252u;
static int64_t line_free[2];		/* when the line can take the next packet, by direction */
static bool accepts[65536];			/* ports that were asked for by a SYN */
static bool forgotten[65536];		/* ports of those who talked to a host that vanished */
static struct
{
	unsigned long passed, lost, reset, twice;
}			counts;

static void
die(const char *what)
{
	fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static double
chance(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (double) (seed >> 11) / 9007199254740992.0;
}

/* ---- the frames ---- */

static uint32_t
add_up(const unsigned char *p, int n, uint32_t sum)
{
	for (; n > 1; n -= 2, p += 2)
		sum += (uint32_t) p[0] << 8 | p[1];
	return n > 0 ? sum + ((uint32_t) p[0] << 8) : sum;
}

static uint16_t
fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t) ~sum);
}

static void
set_checksums(struct iphdr *ip)
{
	struct tcphdr *tcp = (struct tcphdr *) ((unsigned char *) ip + ip->ihl * 4);
	int			length = ntohs(ip->tot_len) - ip->ihl * 4;

	ip->check = 0;
	ip->check = fold(add_up((unsigned char *) ip, ip->ihl * 4, 0));
	tcp->check = 0;
	tcp->check = fold(add_up((unsigned char *) tcp, length,
							 add_up((unsigned char *) &ip->saddr, 8, IPPROTO_TCP + (uint32_t) length)));
}

static void
put_in(const unsigned char *bytes, int length)
{
	if (send(wire, bytes, length, MSG_DONTWAIT) == length)
		counts.passed++;
	else
		counts.lost++;
}

/* The heap of what waits: the earliest first, of equals the one that came first. */
static bool
earlier(const Packet *a, const Packet *b)
{
	return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void
wait_until(int64_t due, const unsigned char *bytes, int length)
{
	int			i = waiting;
	Packet		p = {due, order++, length, malloc(length)};

	if (waiting == MAX_WAITING || p.bytes == NULL)
	{
		free(p.bytes);
		counts.lost++;
		return;
	}
	memcpy(p.bytes, bytes, length);
	waiting++;
	for (; i > 0 && earlier(&p, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = p;
}

static void
put_first_in(void)
{
	Packet		last = heap[--waiting];
	int			i = 0;

	put_in(heap[0].bytes, heap[0].length);
	free(heap[0].bytes);
	for (int child; (child = 2 * i + 1) < waiting; i = child)
	{
		if (child + 1 < waiting && earlier(&heap[child + 1], &heap[child]))
			child++;
		if (!earlier(&heap[child], &last))
			break;
		heap[i] = heap[child];
	}
	heap[i] = last;
}

static void
forward(const unsigned char *frame, int length, int direction, int64_t now)
{
	int64_t		due = now;

	if (faults.rate > 0)
	{
		if (line_free[direction] > now + QUEUE_US)
		{
			counts.lost++;
			return;
		}
		due = line_free[direction] = (line_free[direction] > now ? line_free[direction] : now) +
			(int64_t) (length * 8e6 / faults.rate);
	}
	due += (int64_t) (1000 * (faults.delay + faults.jitter * (2 * chance() - 1)));
	if (due <= now)
		put_in(frame, length);
	else
		wait_until(due, frame, length);
}

/* A RST for the end that has the address and port `to`, in the name of the other one. */
static void
reset_end(const struct iphdr *ip, uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port, uint32_t seq, uint32_t ack,
		  const unsigned char *ether)
{
	unsigned char frame[sizeof(struct ether_header) + sizeof(struct iphdr) + sizeof(struct tcphdr)] = {0};
	struct iphdr *i = (struct iphdr *) (frame + sizeof(struct ether_header));
	struct tcphdr *t = (struct tcphdr *) (i + 1);

	memcpy(frame, ether, sizeof(struct ether_header));
	i->version = 4;
	i->ihl = 5;
	i->ttl = 64;
	i->id = ip->id;
	i->protocol = IPPROTO_TCP;
	i->tot_len = htons(sizeof(*i) + sizeof(*t));
	i->saddr = from;
	i->daddr = to;
	t->source = from_port;
	t->dest = to_port;
	t->seq = seq;
	t->ack_seq = ack;
	t->doff = 5;
	t->rst = t->ack = 1;
	set_checksums(i);
	put_in(frame, sizeof(frame));
}

static void
reset_both(const struct iphdr *ip, const struct tcphdr *tcp, int payload, const unsigned char *ether)
{
	/* addresses of ip are exchanged already: daddr is here, for both ends */
	reset_end(ip, ip->saddr, tcp->source, ip->daddr, tcp->dest, tcp->seq, tcp->ack_seq, ether);
	reset_end(ip, ip->saddr, tcp->dest, ip->daddr, tcp->source, tcp->ack_seq, htonl(ntohl(tcp->seq) + payload), ether);
	counts.reset++;
}

static void
take(unsigned char *frame, int length, int64_t now)
{
	struct iphdr *ip = (struct iphdr *) (frame + sizeof(struct ether_header));
	struct tcphdr *tcp = (struct tcphdr *) ((unsigned char *) ip + ip->ihl * 4);
	uint32_t	address = ip->saddr;
	int			payload = ntohs(ip->tot_len) - ip->ihl * 4 - tcp->doff * 4;
	bool		inward;			/* towards the end that accepts */
	uint16_t	caller;			/* the port of the other end */

	if (length < (int) sizeof(struct ether_header) + 40 || ip->protocol != IPPROTO_TCP || payload < 0 ||
		length < (int) sizeof(struct ether_header) + ntohs(ip->tot_len))
		return;
	length = sizeof(struct ether_header) + ntohs(ip->tot_len);
	ip->saddr = ip->daddr;
	ip->daddr = address;
	set_checksums(ip);
	if (tcp->syn && !tcp->ack)
		accepts[ntohs(tcp->dest)] = true;
	inward = accepts[ntohs(tcp->dest)];
	caller = ntohs(inward ? tcp->source : tcp->dest);
	if (tcp->syn && !tcp->ack)
		forgotten[caller] = false;

	if (faults.cut || chance() < faults.loss || (tcp->syn && chance() < faults.syn))
		counts.lost++;
	else if (faults.vanish && (inward ? payload > 0 || tcp->fin || tcp->rst : !tcp->syn))
	{
		forgotten[caller] = true;
		counts.lost++;
	}
	else if (!faults.vanish && forgotten[caller])
		reset_both(ip, tcp, payload, frame);
	else if (inward && payload > 0 && chance() < faults.reset)
		reset_both(ip, tcp, payload, frame);
	else
	{
		forward(frame, length, inward, now);
		if (chance() < faults.dup)
		{
			forward(frame, length, inward, now);
			counts.twice++;
		}
	}
}

/* ---- the device ---- */

static void
set_up(bool up)
{
	struct ifreq r = {0};
	int			s = socket(AF_INET, SOCK_DGRAM, 0);

	strncpy(r.ifr_name, device, IFNAMSIZ - 1);
	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &r) != 0)
		die(device);
	r.ifr_flags = up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &r) != 0)
		die(device);
	close(s);
}

/* Each packet as it would be on a wire: with its checksum, and no larger than the wire takes. */
static void
no_offloads(const char *name)
{
	static const uint32_t commands[] = {ETHTOOL_STXCSUM, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO};
	int			s = socket(AF_INET, SOCK_DGRAM, 0);

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		struct ethtool_value v = {commands[i], 0};
		struct ifreq r = {0};

		strncpy(r.ifr_name, name, IFNAMSIZ - 1);
		r.ifr_data = (void *) &v;
		if ((s < 0 || ioctl(s, SIOCETHTOOL, &r) != 0) && (commands[i] == ETHTOOL_STSO || commands[i] == ETHTOOL_SGSO))
			die("ethtool");
	}
	close(s);
}

static void
open_wire(void)
{
	char		peer[IFNAMSIZ];
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	int			room = 4 * 1024 * 1024;

	snprintf(peer, sizeof(peer), "%sp", device);
	no_offloads(device);
	no_offloads(peer);
	to.sll_ifindex = (int) if_nametoindex(peer);
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_IP));
	if (wire < 0 || to.sll_ifindex == 0 || bind(wire, (struct sockaddr *) &to, sizeof(to)) != 0)
		die(peer);
	setsockopt(wire, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
}

/* ---- commands ---- */

static void
obey(char *line)
{
	bool		was_down = faults.down != 0;

	if (strcmp(line, "?") == 0)
	{
		printf("passed %lu lost %lu reset %lu twice %lu\n", counts.passed, counts.lost, counts.reset, counts.twice);
		fflush(stdout);
		return;
	}
	faults = (Faults) {0};
	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
	{
		char	   *value = strchr(word, '=');
		size_t		i = 0;

		if (value != NULL)
			*value++ = '\0';
		while (i < sizeof(faults_known) / sizeof(faults_known[0]) && strcmp(faults_known[i].name, word) != 0)
			i++;
		if (value == NULL || i == sizeof(faults_known) / sizeof(faults_known[0]))
		{
			fprintf(stderr, "wire: no such fault: %s\n", word);
			exit(2);
		}
		*(double *) ((char *) &faults + faults_known[i].offset) = atof(value);
	}
	line_free[0] = line_free[1] = 0;
	if (was_down != (faults.down != 0))
		set_up(was_down);
}

static void
read_commands(void)
{
	static char text[1024];
	static size_t used = 0;
	ssize_t		n = read(0, text + used, sizeof(text) - 1 - used);
	char	   *end;

	if (n <= 0)
		exit(0);
	used += (size_t) n;
	text[used] = '\0';
	while ((end = strchr(text, '\n')) != NULL)
	{
		*end = '\0';
		obey(text);
		used -= (size_t) (end + 1 - text);
		memmove(text, end + 1, used + 1);
	}
}

int
main(int argc, char **argv)
{
	struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};

	if (argc != 2)
		return 2;
	device = argv[1];
	open_wire();
	fds[1].fd = wire;
	puts("ready");
	fflush(stdout);
	while (true)
	{
		unsigned char frame[MAX_FRAME];
		struct sockaddr_ll from;
		socklen_t	from_length = sizeof(from);
		struct timespec patience = {0};
		int64_t		left = waiting > 0 ? heap[0].due - now_us() : -1;
		ssize_t		n;

		patience.tv_sec = left > 0 ? left / 1000000 : 0;
		patience.tv_nsec = left > 0 ? left % 1000000 * 1000 : 0;
		if (ppoll(fds, 2, waiting > 0 ? &patience : NULL, NULL) < 0 && errno != EINTR)
			die("poll");
		if (fds[0].revents != 0)
			read_commands();
		while ((n = recvfrom(wire, frame, sizeof(frame), 0, (struct sockaddr *) &from, &from_length)) > 0)
		{
			if (from.sll_pkttype != PACKET_OUTGOING)
				take(frame, (int) n, now_us());
			from_length = sizeof(from);
		}
		while (waiting > 0 && heap[0].due <= now_us())
			put_first_in();
	}
}
