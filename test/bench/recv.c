/*
 * recv.c: a receiver that costs next to nothing. One process, epoll, HTTP/1.1 with keep-alive; answers 200 to everything.
 *
 *   recv LOG        prints its port, then serves on 127.0.0.1; for each request it notes "webhook-id microseconds path", the
 *                   time being that of its first byte (real time, Unix epoch)
 *
 * A path that begins with /hang is read and never answered. SIGUSR1 writes what was noted to LOG and forgets it; SIGTERM writes
 * and ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 4096
#define BUFFER (64 * 1024)

typedef struct Connection
{
	char	   *data;			/* what was read and not yet consumed */
	size_t		len;
	int64_t		first;			/* when the first byte of the request under way came */
} Connection;

typedef struct Note
{
	int64_t		at;
	char		id[40];
	char		path[16];
} Note;

static Connection connections[MAX_CONNECTIONS];
static Note *notes;
static size_t nnotes, room;
static const char *log_name;
static volatile sig_atomic_t wants_log, wants_end;
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void
on_signal(int sig)
{
	if (sig == SIGTERM)
		wants_end = 1;
	wants_log = 1;
}

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void
write_log(void)
{
	char		tmp[4096];
	FILE	   *f;

	snprintf(tmp, sizeof(tmp), "%s.new", log_name);
	f = fopen(tmp, "w");
	if (f == NULL)
		exit(1);
	for (size_t i = 0; i < nnotes; i++)
		fprintf(f, "%s\t%lld\t%s\n", notes[i].id, (long long) notes[i].at, notes[i].path);
	fclose(f);
	rename(tmp, log_name);
	nnotes = 0;
	wants_log = 0;
}

/* Copies a token that ends at a blank or line end. */
static void
copy_token(char *out, size_t size, const char *from)
{
	size_t		n = strcspn(from, " \r\n");

	n = n < size - 1 ? n : size - 1;
	memcpy(out, from, n);
	out[n] = '\0';
}

/* Handles one complete request at the head of the buffer; returns its length, 0 when it is not all there. */
static size_t
take_request(int fd, Connection *c)
{
	char	   *end = memmem(c->data, c->len, "\r\n\r\n", 4);
	size_t		body = 0;
	size_t		head;
	Note	   *n;

	if (end == NULL)
		return 0;
	head = end + 4 - c->data;
	if (nnotes == room)
	{
		room = room ? room * 2 : 65536;
		notes = realloc(notes, room * sizeof(Note));
	}
	n = &notes[nnotes];
	memset(n, 0, sizeof(*n));
	n->at = c->first;
	end[2] = '\0';
	copy_token(n->path, sizeof(n->path), strchr(c->data, ' ') + 1);
	for (char *line = strstr(c->data, "\r\n"); line != NULL && line[2] != '\0'; line = strstr(line + 2, "\r\n"))
	{
		if (strncasecmp(line + 2, "content-length:", 15) == 0)
			body = strtoul(line + 17, NULL, 10);
		else if (strncasecmp(line + 2, "webhook-id:", 11) == 0)
			copy_token(n->id, sizeof(n->id), line + 13 + strspn(line + 13, " "));
	}
	end[2] = '\r';
	if (c->len < head + body)
		return 0;
	nnotes++;
	if (strncmp(n->path, "/hang", 5) != 0 && write(fd, answer, sizeof(answer) - 1) < 0 && errno != EPIPE)
		perror("write");
	return head + body;
}

/* Returns 0 when the connection is over. */
static int
serve(int fd)
{
	Connection *c = &connections[fd];
	int64_t		at = now();
	ssize_t		n;
	size_t		used;

	if (c->data == NULL)
		c->data = malloc(BUFFER);
	n = read(fd, c->data + c->len, BUFFER - c->len);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (c->len == 0)
		c->first = at;
	c->len += n;
	while (c->len > 0 && (used = take_request(fd, c)) > 0)
	{
		memmove(c->data, c->data + used, c->len - used);
		c->len -= used;
		c->first = at;
	}
	return c->len < BUFFER;
}

static void
watch(int poll_fd, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
}

static int
open_listener(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(a);
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0 || listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *) &a, &len) != 0)
	{
		perror("listen");
		exit(1);
	}
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct epoll_event events[256];
	int			poll_fd = epoll_create1(EPOLL_CLOEXEC);
	int			listener;

	if (argc != 2)
		return 2;
	log_name = argv[1];
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	listener = open_listener();
	watch(poll_fd, listener);
	while (!wants_end)
	{
		int			n = epoll_wait(poll_fd, events, 256, 200);

		for (int i = 0; i < n; i++)
		{
			int			fd = events[i].data.fd;
			int			one = 1;

			if (fd != listener)
			{
				if (!serve(fd))
				{
					connections[fd].len = 0;
					close(fd);
				}
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
			{
				if (fd >= MAX_CONNECTIONS)
				{
					close(fd);
					continue;
				}
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				connections[fd].len = 0;
				watch(poll_fd, fd);
			}
		}
		if (wants_log)
			write_log();
	}
	return 0;
}
