/*
 * post.c: the peer of the delivery row: a bare libcurl multi loop that signs with HMAC-SHA256 and stores nothing.
 *
 *   post URL COUNT IN-FLIGHT BODY-BYTES     prints "requests-a-second cpu-µs-a-request"
 *
 * It does what any sender must (id, timestamp, signature, three headers, reused easy handles and connections) and no more.
 */
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_IN_FLIGHT 256

typedef struct Slot
{
	CURL	   *easy;
	struct curl_slist *headers;
} Slot;

static Slot slots[MAX_IN_FLIGHT];
static CURLM *multi;
static char *body;
static size_t body_len;
static long sent;

static size_t
ignore(char *data, size_t size, size_t n, void *arg)
{
	(void) data;
	(void) arg;
	return size * n;
}

static void
sign(char *out, const char *id, long timestamp)
{
	static char *text;
	unsigned char mac[32];
	unsigned char b64[48];
	unsigned int len = sizeof(mac);
	int			n;

	if (text == NULL)
		text = malloc(body_len + 128);
	n = sprintf(text, "%s.%ld.", id, timestamp);
	memcpy(text + n, body, body_len);
	HMAC(EVP_sha256(), "0123456789abcdef0123456789abcdef", 32, (unsigned char *) text, n + body_len, mac, &len);
	EVP_EncodeBlock(b64, mac, sizeof(mac));
	sprintf(out, "webhook-signature: v1,%s", b64);
}

static void
start(Slot *s)
{
	char		id[64];
	char		line[160];
	long		timestamp = time(NULL);

	sprintf(id, "01890000-0000-7000-8000-%012lx", sent++);
	curl_slist_free_all(s->headers);
	sprintf(line, "webhook-id: %s", id);
	s->headers = curl_slist_append(NULL, line);
	sprintf(line, "webhook-timestamp: %ld", timestamp);
	curl_slist_append(s->headers, line);
	sign(line, id, timestamp);
	curl_slist_append(s->headers, line);
	curl_slist_append(s->headers, "content-type: application/json");
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers);
	curl_multi_add_handle(multi, s->easy);
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	long		count = argc == 5 ? atol(argv[2]) : 0;
	long		in_flight = argc == 5 ? atol(argv[3]) : 0;
	long		done = 0;
	double		began;
	struct rusage use;

	if (count < 1 || in_flight < 1 || in_flight > MAX_IN_FLIGHT)
		return 2;
	body_len = strtoul(argv[4], NULL, 10);
	body = malloc(body_len + 1);
	memset(body, 'x', body_len);
	body[body_len] = '\0';
	curl_global_init(CURL_GLOBAL_ALL);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, in_flight);
	began = seconds();
	for (long i = 0; i < in_flight && sent < count; i++)
	{
		Slot	   *s = &slots[i];

		s->easy = curl_easy_init();
		curl_easy_setopt(s->easy, CURLOPT_URL, argv[1]);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long) body_len);
		curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, ignore);
		curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
		start(s);
	}
	while (done < count)
	{
		int			running;
		int			left;
		CURLMsg    *m;

		curl_multi_perform(multi, &running);
		while ((m = curl_multi_info_read(multi, &left)) != NULL)
		{
			Slot	   *s;
			long		status = 0;

			if (m->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **) &s);
			curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
			if (status != 200)
			{
				fprintf(stderr, "status %ld\n", status);
				return 1;
			}
			curl_multi_remove_handle(multi, s->easy);
			done++;
			if (sent < count)
				start(s);
		}
		if (done < count)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
	}
	getrusage(RUSAGE_SELF, &use);
	printf("%.0f %.2f\n", count / (seconds() - began),
		   (use.ru_utime.tv_sec * 1e6 + use.ru_utime.tv_usec + use.ru_stime.tv_sec * 1e6 + use.ru_stime.tv_usec) / count);
	return 0;
}
