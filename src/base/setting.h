/*
 * setting.h: the rows of eventmkt_data.setting, cached per backend. The cache is dropped by the relcache invalidation that
 * the statement trigger on the table sends, so a change reaches every backend at its next statement.
 *
 * Keys: clock_offset, clock_advanced_at, node, system_identifier, database_oid, instance, timeline, adopted_at,
 * data_version, worker_pid (no-preload mode), partition_period, retention, settle_error (what a worker cannot store), erasure_salt.
 */
#ifndef EMK_BASE_SETTING_H
#define EMK_BASE_SETTING_H

/* What the tables look like; init() migrates older ones and stores it as `data_version`. */
#define EMK_DATA_VERSION 5

/* Value of `key`, palloc'd, or NULL. Needs a transaction when not cached. */
extern char *emk_setting_get(const char *key);

/* Stores `value` (NULL deletes the row). Opens its own SPI connection as the owner. */
extern void emk_setting_put(const char *key, const char *value);

/*
 * True when this database is the one that init() or adopt() marked: same system identifier, database oid and
 * eventmkt.instance. A copy is not home: it sends nothing and its clock is not moved.
 */
extern bool emk_setting_is_home(void);

/* The node number of this database, 0..1023: the high bits of every event_id, and whose work the worker claims. */
extern int	emk_setting_node(void);

/*
 * The next value of a sequence of ours, as an id that no server of the family gives to anything else: bits 43 to 52 hold the
 * timeline (less one). A server that goes on from an earlier place in the WAL (a promoted standby, a recovery to a point in time)
 * draws numbers again that others have seen, but under a timeline of its own. ERROR 25006 in recovery.
 */
extern int64 emk_setting_next_id(Oid sequence);

/* GUC eventmkt.instance, and eventmkt.enabled (the switch that stops everything) */
extern char *emk_guc_instance;
extern bool emk_guc_enabled;

/*
 * Oid of a table in eventmkt_data; ERROR EM001 with the hint to run init() when it does not exist. Not cached: callers
 * that need it per event keep it and register an invalidation.
 */
extern Oid	emk_setting_table(const char *relname);
/* True when eventmkt_data.setting exists, i.e. init() has been run in this database. */
extern bool emk_setting_initialized(void);

#endif
