/*
 * fuzz_http.c: the callbacks of deliver/http.c, which nobody outside can name: the file is compiled here a second time under other names.
 */
#define emk_http_target fuzz_http_target
#define emk_http_release fuzz_http_release
#define emk_http_start fuzz_http_start
#define emk_http_stop fuzz_http_stop
#define emk_http_submit fuzz_http_submit
#define emk_http_drive fuzz_http_drive
#define emk_http_answer fuzz_http_answer
#define emk_http_resolved fuzz_http_resolved
#define emk_http_lookups fuzz_http_lookups
#define emk_http_take_resolved fuzz_http_take_resolved
#define emk_http_wait fuzz_http_wait
#define emk_http_excerpt fuzz_http_excerpt
#include "../../src/deliver/http.c"

extern void emk_fuzz_answer(const uint8 *data, size_t n);

void
emk_fuzz_answer(const uint8 *data, size_t n)
{
	Transfer   *x = palloc0(sizeof(Transfer));
	const uint8 *end = data + n;

	/* each line in a chunk of its own: curl does not end it with a NUL */
	while (data < end)
	{
		const uint8 *feed = memchr(data, '\n', end - data);
		size_t		len = feed ? feed + 1 - data : end - data;
		char	   *line = palloc(len);

		memcpy(line, data, len);
		if (x->headers_done)
			(void) read_body(line, 1, len, x);
		else if (read_header(line, 1, len, x) == 0)
			return;
		data += len;
	}
	{
		EmkTry		t = {.status = x->answer.status, .attempts = n % 12, .schedule = emk_retry_default, .nschedule = emk_retry_default_length,
			.retry_after = n % 5 == 0 ? NULL : x->answer.retry_after, .now = 0, .real = 0, .spread = 0.5};

		(void) emk_retry_plan(&t);
		(void) emk_http_excerpt(&x->answer);
	}
}
