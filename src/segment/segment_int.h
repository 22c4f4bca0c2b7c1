/*
 * segment_int.h: between the files of the segment layer: segment_args.c reads and refuses, segment_view.c writes SQL,
 * segment_define.c makes views and rows, segment_query.c takes in queries of somebody's own, segment_ask.c answers.
 */
#ifndef EMK_SEGMENT_INT_H
#define EMK_SEGMENT_INT_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "segment/segment.h"
#include "utils/date.h"
#include "utils/jsonpath.h"

#define EMK_SEGMENT_PREFIX "segment_"

typedef enum EmkSegmentKind
{
	EMK_SEGMENT_TRAITS, EMK_SEGMENT_BEHAVIOUR, EMK_SEGMENT_SEGMENTS, EMK_SEGMENT_QUERY
} EmkSegmentKind;
extern const char *const emk_segment_kinds[];

typedef struct EmkCondPath
{
	JsonPath   *path;			/* NULL: none */
	bool		cold;
} EmkCondPath;

typedef struct EmkNames
{
	int			n;
	char	  **v;
	int32	   *ids;			/* of segments, once resolved */
} EmkNames;

/* A definition as given and checked. */
typedef struct EmkSegmentSpec
{
	char	   *name;
	EmkSegmentKind kind;
	EmkCondPath where_profile;
	char	   *on_event;		/* NULL: none; '*': any event of the app */
	EmkCondPath where_event;
	int			at_least;
	Interval   *within;			/* NULL: ever */
	char	   *per;
	EmkNames	unless;
	EmkCondPath unless_where;
	Interval   *unless_within;	/* NULL: as `within` */
	EmkNames	steps;
	int			ndays;
	int			days[7];		/* ISO: Monday is 1 */
	bool		has_from;
	bool		has_to;
	TimeADT		from_time;
	TimeADT		to_time;
	char	   *time_zone;
	EmkNames	all_of;
	EmkNames	any_of;
	EmkNames	none_of;
	char	   *query;
	char	   *comment;
	int			track;			/* -1: as it was */
} EmkSegmentSpec;

/* Reads and checks the arguments; any fault is an ERROR with a hint. Looks at nothing else. */
extern void emk_segment_read_args(FunctionCallInfo fcinfo, EmkSegmentSpec *spec);
/* The arguments given, as a JSON object. */
extern char *emk_segment_definition(const EmkSegmentSpec *spec);

/* The SELECT of the view, of one column profile_id; segment_id serves the kind query. Names resolve in pg_catalog alone. */
extern char *emk_segment_view_query(const EmkSegmentSpec *spec, int32 segment_id);
/* Can somebody without a row in profile, whose traits are {}, be in it? */
extern bool emk_segment_takes_unknown(const EmkSegmentSpec *spec);
/* The view's name with its schema, quoted. */
extern char *emk_segment_view_name(const char *segment);

/*
 * Makes (or replaces) the view of a query as `author`, checks what it depends on, and returns its SELECT with every name
 * qualified. Inside SPI, as the owner. `query` is checked to be one SELECT. ERROR when the author is a superuser.
 */
extern char *emk_segment_make_query(int32 segment_id, const char *query, Oid author);
extern char *emk_segment_query_name(int32 segment_id);

pg_noreturn extern void emk_segment_unknown(const char *name);

/*
 * After the row of a segment was written: tracking begins (1), ends (0), or is as it was (-1); `changed`: it has another definition.
 * Inside SPI, as the owner. ERROR 0A000 where a query takes part, 2BP01 while it is synced.
 */
extern void emk_segment_changed(int32 id, const char *name, int track, bool changed);

/* Settings under which views are made; undo with AtEOXact_GUC(true, level). */
extern int	emk_segment_pin(void);

#endif
