/*
 * owner.h: spine 1 and the administrative functions act as the owner of eventmkt_data, a role that is no superuser.
 * The switch is made in C because it is cheaper than SECURITY DEFINER. On ERROR PostgreSQL restores the user itself when it
 * aborts the (sub)transaction, so enter and leave need no PG_TRY.
 */
#ifndef EMK_BASE_OWNER_H
#define EMK_BASE_OWNER_H

typedef struct EmkOwner
{
	Oid			user;
	int			sec_context;
	int			settings;		/* nest level of what enter() set; 0: nothing */
} EmkOwner;

/*
 * Remembers who we are in *saved and becomes the owner, whom policies let see what they are for, also in a session that takes them for
 * errors (row_security = off), and for whom our own triggers fire, also in a session of a bulk load (session_replication_role = replica):
 * without them caches keep what was, and segments and timelines miss people. ERROR EM001 when init() has not been run.
 */
extern void emk_owner_enter(EmkOwner *saved);
extern void emk_owner_leave(const EmkOwner *saved);
/* The owner of eventmkt_data */
extern Oid	emk_owner_oid(void);

#endif
