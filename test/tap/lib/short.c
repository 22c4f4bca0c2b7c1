/*
 * short.c: a server whose shared memory is short, by LD_PRELOAD. The file named by EMK_SHORT holds "COUNT SIZE": of a process's requests
 * for a piece of dynamic shared memory the first COUNT are refused, and any of more than SIZE bytes, as a full /dev/shm refuses them. Each
 * refusal leaves a line in the file of that name with .refused behind it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
is_refused(int fd, off_t len)
{
	static long made = 0;
	static pid_t who = 0;
	const char *path = getenv("EMK_SHORT");
	char		name[64];
	char		text[4096];
	long		count = 0;
	long long	size = 0;
	ssize_t		n;
	FILE	   *f;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, text, sizeof(text) - 1);
	if (path == NULL || n < 0)
		return 0;
	text[n] = '\0';
	if (strncmp(text, "/dev/shm/PostgreSQL.", 20) != 0)
		return 0;
	made = who == getpid() ? made + 1 : 1;
	who = getpid();
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	n = fscanf(f, "%ld %lld", &count, &size);
	fclose(f);
	if (n != 2 || (made > count && len <= size))
		return 0;
	snprintf(text, sizeof(text), "%s.refused", path);
	f = fopen(text, "a");
	if (f != NULL)
	{
		fprintf(f, "%ld %lld\n", made, (long long) len);
		fclose(f);
	}
	return 1;
}

int
posix_fallocate(int fd, off_t offset, off_t len)
{
	if (is_refused(fd, len))
		return ENOSPC;
	return syscall(SYS_fallocate, fd, 0, offset, len) == 0 ? 0 : errno;
}
