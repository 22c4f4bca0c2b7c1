/*
 * deliver.c: start of the layer and its settings. All of them are a superuser's or the operator's to set: an endpoint's
 * owner must not be able to widen where the server may connect to.
 */
#include "postgres.h"

#include "deliver/deliver.h"
#include "utils/guc.h"

int			emk_guc_max_in_flight = 64;
bool		emk_guc_allow_plain_http = false;
char	   *emk_guc_ca_file = NULL;

void
emk_deliver_init(void)
{
	DefineCustomIntVariable("eventmkt.max_in_flight",
							"Requests that one worker has under way at once.",
							"Requests that an endpoint keeps waiting for more than a quarter of a second are not counted.",
							&emk_guc_max_in_flight, 64, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("eventmkt.allow_plain_http",
							 "Allows endpoints with http URLs.",
							 NULL, &emk_guc_allow_plain_http, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventmkt.ca_file",
							   "File of certificate authorities that endpoints are verified against; empty: the system's.",
							   NULL, &emk_guc_ca_file, "", PGC_SUSET, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	emk_address_init();
}
