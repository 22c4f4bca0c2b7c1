/*
 * pause.c: what happens at a pause point; see pause.h. Empty but in the build of the tests.
 */
#include "postgres.h"

#include "base/base.h"
#include "base/base_int.h"

#ifdef EMK_PAUSE_POINTS

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "utils/guc.h"

char	   *emk_pause_setting = NULL;

/* Leaves the mark of `number`; false when it is there already. A process lives in the data folder. */
static bool
leave_mark(int number)
{
	char		path[64];
	char		text[32];
	int			length;
	int			fd;

	snprintf(path, sizeof(path), "eventmkt_pause.%d", number);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return false;
	length = snprintf(text, sizeof(text), "%d\n", MyProcPid);
	if (write(fd, text, length) != length)
		length = 0;
	close(fd);
	return length > 0;
}

void
emk_pause_here(const char *name)
{
	static int	passed = 0;
	static int	passed_number = -1;
	char		point[64];
	char		action[8];
	int			number;
	int			skip = 0;
	int			save_errno = errno;

	if (sscanf(emk_pause_setting, "%63s %7s %d %d", point, action, &number, &skip) < 3 || strcmp(point, name) != 0)
		return;
	if (strcmp(action, "sleep") == 0)
		pg_usleep(number * 1000L);
	else
	{
		if (passed_number != number)
			passed = 0;
		passed_number = number;
		if (passed++ >= skip && leave_mark(number))
			kill(MyProcPid, strcmp(action, "kill") == 0 ? SIGKILL : SIGSTOP);
	}
	errno = save_errno;
}

void
emk_base_init_pause(void)
{
	DefineCustomStringVariable("eventmkt.pause_point", "Where a process stops or dies, for tests: NAME ACTION NUMBER [SKIP].",
							   NULL, &emk_pause_setting, "", PGC_SUSET, 0, NULL, NULL, NULL);
}

#endif
