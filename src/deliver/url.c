/*
 * url.c: which URLs an endpoint may have. One parser, curl's own, so that what is judged here is what will be dialled;
 * everything in which parsers are known to differ (user names, backslashes, control characters, escapes in the host, other
 * alphabets) is refused before it is asked. Addresses are not judged by their spelling: that is done when the socket opens
 * (address.c); a literal one is only looked at here so that create_endpoint() can say so at once.
 *
 * Ports: 443, 80 with http, and 1024 and above but the ports on which the insides of a company listen. A receiver on an
 * unusual high port is common, one on a low port is not, and a low or well-known port is what a forged request wants.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "deliver/deliver.h"

static const int refused_ports[] = {
	1080, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3268, 3269, 3306, 3389, 3659, 4045,
	4190, 4369, 5060, 5061, 5432, 5433, 5672, 5900, 5984, 6000, 6379, 6380, 6432, 6443, 6566, 6665, 6666, 6667, 6668, 6669,
	6697, 7000, 7001, 8086, 8500, 9042, 9092, 9100, 9200, 9300, 10080, 10250, 10255, 11211, 15672, 26257, 27017, 27018,
	27019, 50051
};

static bool
port_allowed(int port, bool plain)
{
	if (port < 1024)
		return port == 443 || (plain && port == 80);
	for (int i = 0; i < lengthof(refused_ports); i++)
		if (refused_ports[i] == port)
			return false;
	return port <= 65535;
}

/* Everything that can be judged on the text alone. */
static const char *
check_text(const char *url, bool *plain, const char **hint)
{
	size_t		len = strlen(url);
	const char *host;
	size_t		authority;

	if (len == 0 || len > EMK_MAX_URL_BYTES)
	{
		*hint = "A URL has 1 to 4096 bytes (EMK_MAX_URL_BYTES).";
		return len == 0 ? "empty URL" : "URL is too long";
	}
	for (const unsigned char *p = (const unsigned char *) url; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f || *p == '\\')
		{
			*hint = "A URL holds no spaces, control characters, backslashes or characters outside ASCII; write a name in "
				"another alphabet in its xn-- form.";
			return "URL contains a character that is not allowed";
		}
	*plain = pg_strncasecmp(url, "http://", 7) == 0;
	if (!*plain && pg_strncasecmp(url, "https://", 8) != 0)
	{
		*hint = "An endpoint's URL begins with https://.";
		return "URL has a scheme that is not allowed";
	}
	host = url + (*plain ? 7 : 8);
	authority = strcspn(host, "/?#");
	if (authority == 0)
	{
		*hint = "Write https://host/path.";
		return "URL has no host";
	}
	if (memchr(host, '@', authority) != NULL)
	{
		*hint = "Put credentials into the endpoint's headers, for example {\"Authorization\": \"Bearer ...\"}.";
		return "URL contains a user name or password";
	}
	if (memchr(host, '%', authority) != NULL)
	{
		*hint = "Write the host's name or address without escapes or zone.";
		return "URL has an escaped host";
	}
	if (host[authority] == '?' || strchr(url, '#') != NULL)
	{
		*hint = "Write https://host/path?query; a fragment is never sent.";
		return host[authority] == '?' ? "URL has a query but no path" : "URL contains a fragment";
	}
	return NULL;
}

/* Is the host an address, in whatever notation, or localhost? */
static void
judge_host(EmkUrl *out)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	}			addr;
	char		name[sizeof(out->host)];
	size_t		len;

	strlcpy(name, out->host, sizeof(name));
	len = strlen(name);
	if (len > 0 && name[len - 1] == '.')
		name[--len] = '\0';
	memset(&addr, 0, sizeof(addr));
	if (pg_strcasecmp(name, "localhost") == 0 || (len > 10 && pg_strcasecmp(name + len - 10, ".localhost") == 0))
		strlcpy(name, "127.0.0.1", sizeof(name));
	if (name[0] == '[' && name[len - 1] == ']')
	{
		name[len - 1] = '\0';
		if (inet_pton(AF_INET6, name + 1, &addr.v6.sin6_addr) == 1)
			addr.v6.sin6_family = AF_INET6;
	}
	else if (inet_aton(name, &addr.v4.sin_addr) != 0)
		addr.v4.sin_family = AF_INET;
	if (addr.any.sa_family == AF_UNSPEC)
		return;
	out->literal = true;
	out->loopback = emk_address_is_loopback(&addr.any);
	out->blocked = !emk_address_allowed(&addr.any);
}

/* Host and port as curl sees them. */
static bool
split(const char *url, EmkUrl *out, CURLU *h)
{
	char	   *host = NULL;
	char	   *port = NULL;
	char	   *user = NULL;
	bool		ok = false;

	if (curl_url_set(h, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
		curl_url_get(h, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(h, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		curl_url_get(h, CURLUPART_USER, &user, 0) != CURLUE_OK &&
		strlen(host) > 0 && strlen(host) < sizeof(out->host) &&
		strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_[]:") == strlen(host) &&
		(host[0] == '[' || strpbrk(host, "[]:") == NULL))
	{
		strlcpy(out->host, host, sizeof(out->host));
		out->port = atoi(port);
		ok = true;
	}
	curl_free(host);
	curl_free(port);
	curl_free(user);
	return ok;
}

const char *
emk_url_check(const char *url, EmkUrl *out, const char **hint)
{
	const char *error;
	CURLU	   *h;
	bool		ok;

	memset(out, 0, sizeof(*out));
	*hint = NULL;
	error = check_text(url, &out->plain, hint);
	if (error != NULL)
		return error;
	if (out->plain && !emk_guc_allow_plain_http)
	{
		*hint = "Use https, or ask a superuser to set eventmkt.allow_plain_http.";
		return "URL uses http, which is not allowed";
	}
	h = curl_url();
	ok = h != NULL && split(url, out, h);
	curl_url_cleanup(h);
	if (!ok)
	{
		*hint = "Write https://host/path.";
		return "malformed URL";
	}
	if (!port_allowed(out->port, out->plain))
	{
		*hint = "Allowed are 443, 80 with http, and ports from 1024 up that no well-known internal service uses.";
		return "URL has a port that is not allowed";
	}
	judge_host(out);
	return NULL;
}
