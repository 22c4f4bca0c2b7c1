/*
 * sign.c: signatures as Standard Webhooks defines them: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`,
 * keyed with the bytes behind `whsec_`. During a rotation a message carries one signature for each secret still valid.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "deliver/deliver.h"
#include "fmgr.h"
#include "utils/builtins.h"

#define PREFIX "whsec_"

/* the base64 routines changed the type of their bytes in 18 */
#if PG_VERSION_NUM >= 180000
#define BYTES(p)	((const uint8 *) (p))
#define OUTPUT(p)	((uint8 *) (p))
#else
#define BYTES(p)	((const char *) (p))
#define OUTPUT(p)	((char *) (p))
#endif

int
emk_sign_parse_secret(const char *text, uint8 *key)
{
	uint8		buf[128];
	size_t		len = strlen(text);
	int			n;

	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 || len - strlen(PREFIX) > 100)
		return -1;
	for (const char *p = text; *p; p++)
		if (isspace((unsigned char) *p))
			return -1;
	n = pg_b64_decode(text + strlen(PREFIX), len - strlen(PREFIX), OUTPUT(buf), sizeof(buf));
	if (n < EMK_SECRET_MIN_BYTES || n > EMK_SECRET_MAX_BYTES)
		return -1;
	memcpy(key, buf, n);
	return n;
}

char *
emk_sign_show_secret(const uint8 *key, int len)
{
	int			size = pg_b64_enc_len(len);
	char	   *out = palloc(strlen(PREFIX) + size + 1);
	int			n;

	memcpy(out, PREFIX, strlen(PREFIX));
	n = pg_b64_encode(BYTES(key), len, out + strlen(PREFIX), size);
	if (n < 0)
		elog(ERROR, "could not encode a secret");
	out[strlen(PREFIX) + n] = '\0';
	return out;
}

void
emk_sign_make_secret(uint8 *key)
{
	if (!pg_strong_random(key, EMK_SECRET_NEW_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random secret")));
}

static bool
hmac(uint8 *out, const char *head, const char *body, size_t len, const EmkSecret *secret)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	bool		ok = ctx != NULL &&
		pg_hmac_init(ctx, secret->key, secret->len) >= 0 &&
		pg_hmac_update(ctx, (const uint8 *) head, strlen(head)) >= 0 &&
		pg_hmac_update(ctx, (const uint8 *) body, len) >= 0 &&
		pg_hmac_final(ctx, out, PG_SHA256_DIGEST_LENGTH) >= 0;

	if (ctx != NULL)
		pg_hmac_free(ctx);
	return ok;
}

int
emk_sign_message(char *out, const char *id, int64 timestamp, const char *body, size_t len,
				 const EmkSecret *secrets, int n, TimestampTz now)
{
	char		head[128];
	int			signatures = 0;

	snprintf(head, sizeof(head), "%s." INT64_FORMAT ".", id, timestamp);
	*out = '\0';
	for (int i = 0; i < n && signatures < EMK_SECRETS_MAX; i++)
	{
		uint8		digest[PG_SHA256_DIGEST_LENGTH];
		int			size;

		if (secrets[i].expires <= now)
			continue;
		if (!hmac(digest, head, body, len, &secrets[i]))
			return 0;
		if (signatures++ > 0)
			*out++ = ' ';
		memcpy(out, "v1,", 3);
		size = pg_b64_encode(BYTES(digest), sizeof(digest), out + 3, 45);
		if (size < 0)
			return 0;
		out += 3 + size;
		*out = '\0';
	}
	return signatures;
}

PG_FUNCTION_INFO_V1(emk_deliver_webhook_signature);
/* eventmkt.webhook_signature(id, timestamp, body, secret): what a receiver should find in webhook-signature */
Datum
emk_deliver_webhook_signature(PG_FUNCTION_ARGS)
{
	char	   *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		timestamp = PG_GETARG_INT64(1);
	char	   *body = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *whsec = text_to_cstring(PG_GETARG_TEXT_PP(3));
	EmkSecret	secret;
	char		out[EMK_SIGNATURES_BYTES];

	if (strlen(id) > 80)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the id of a message is longer than 80 bytes")));
	secret.len = emk_sign_parse_secret(whsec, secret.key);
	if (secret.len < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("malformed secret"),
				 errhint("A secret is whsec_ followed by the base64 of %d to %d bytes.",
						 EMK_SECRET_MIN_BYTES, EMK_SECRET_MAX_BYTES)));
	secret.expires = DT_NOEND;
	if (emk_sign_message(out, id, timestamp, body, strlen(body), &secret, 1, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the signature of a message")));
	PG_RETURN_TEXT_P(cstring_to_text(out));
}
