/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Where WAL is read from: which system's WAL, along which timeline.
 *
 * The server's pg_wal is read in the same way as any other directory.  Only
 * the knowledge about it is better: segment size, system identifier, timeline
 * and the end of WAL come from the server.  In any other directory, all that
 * is known is what the files say.  So a source is made in these steps:
 *
 *	1. List the files that have the name of a segment (listing.c).
 *	2. Read the header of one to learn whose WAL is in the directories: the
 *	   system identifier and the segment size.  A directory can hold segments
 *	   of several systems, as an archive does after pg_upgrade.
 *	3. Choose the timeline to follow.  A directory can hold segments of several
 *	   timelines, and of those that other servers of the same system made.
 *	4. Read the timeline's history file, which says which timeline's segments
 *	   hold which part of WAL (timeline.c).
 *
 * After that, the file for an LSN is found by its name (segments.c), and may
 * have to be decompressed (segment_file.c).  What the directories lack is asked
 * of walredo.restore_command (restore.c).  What is in the file is not examined
 * here, except that the header of its first page says to which system it
 * belongs.  The pages are validated by the reader.
 *
 * To find all that out again for each page would take longer than to read the
 * few records that the page needs.  So sources are kept from one call to the
 * next, and stat() tells whether what they know still holds: of each directory
 * (listing.c), of the files that steps 2 to 4 have looked into, and of each
 * segment file whose header was read before (segments.c).  Only what has
 * changed is read again.  A source that is in use belongs to who uses it, and
 * is gone with the memory context after an error.  It is kept, out of reach of
 * errors, by walredo_source_end(), and taken away again by
 * walredo_source_begin().
 *
 * While WAL is scanned, a segment is opened again for each chunk, which costs
 * next to nothing.  Only those who read single pages keep a file open
 * (held_file.c).
 *
 * Directories that are not the server's can be anyone's, and files in them can
 * be anything: no name is used in a message, and no file opened, before it has
 * been checked.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/source.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "compat.h"
#include "miscadmin.h"
#include "source/file_state.h"
#include "source/restore.h"
#include "source/source_internal.h"
#include "source/timeline.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* The setting walredo.timeline. */
char	   *walredo_timeline_setting;

/* What it can be other than the number of a timeline. */
#define TIMELINE_CURRENT	((TimeLineID) 0)
#define TIMELINE_LATEST		((TimeLineID) UINT_MAX)

/* The most sources that are kept, and the most memory of all of them. */
#define MAX_KEPT_SOURCES	4
#define MAX_KEPT_MEMORY		(16 * 1024 * 1024)

/*
 * The most files that are looked at again before what they said is used.  If
 * more had to be looked into, as in an archive of another system, a change of
 * one of the others within its directory, without a change of the directory,
 * goes unnoticed until the file is read: then its header is checked.
 */
#define MAX_DECIDING_FILES	64

/* A file on which it depended whose WAL is read, or along which timeline. */
typedef struct DecidingFile
{
	char	   *path;
	WalredoFileState state;
} DecidingFile;

/* What a source must know to be kept. */
struct WalredoKeptSource
{
	MemoryContext context;		/* of the DecidingFiles, below the source's */

	/* For what it can be used. */
	char	   *directories;	/* as given, or NULL */
	WalredoTolerance tolerance;
	char	   *timeline;		/* walredo.timeline */
	char	   *restore_command;	/* walredo.restore_command */
	TimeLineID	server_tli;		/* the timeline that the server is on */

	/* What it depends on, apart from which files are in the directories. */
	List	   *deciding;		/* DecidingFiles */
	bool		has_asked;		/* walredo.restore_command was asked */

	/* The WAL of another timeline that report_other_timeline() has found. */
	bool		has_looked;
	TimeLineID	other_tli;		/* or 0 */
};

/* The sources that nobody uses, the one that was used last first. */
static WalredoSource *kept_sources[MAX_KEPT_SOURCES];
static int	nkept_sources = 0;

static void choose_system(WalredoSource *source);
static void choose_timeline(WalredoSource *source);
static void follow(WalredoSource *source, TimeLineID tli, List *history);
static bool follow_local_in_directories(WalredoSource *source);
static TimeLineID newest_timeline(WalredoSource *source);
static bool holds_history(WalredoSource *source);
static List *read_history(WalredoSource *source, TimeLineID tli, bool local,
						  bool elsewhere, bool *found);
static void report_other_timeline(WalredoSource *source);

/* ----------------------------------------
 * The setting walredo.timeline
 * ----------------------------------------
 */

static bool
parse_timeline(const char *value, TimeLineID *tli)
{
	char	   *end;
	unsigned long number;

	if (strcmp(value, "current") == 0)
		*tli = TIMELINE_CURRENT;
	else if (strcmp(value, "latest") == 0)
		*tli = TIMELINE_LATEST;
	else
	{
		errno = 0;
		number = strtoul(value, &end, 0);
		if (!isdigit((unsigned char) *value) || *end != '\0' || errno != 0 ||
			number == TIMELINE_CURRENT || number >= TIMELINE_LATEST)
			return false;
		*tli = (TimeLineID) number;
	}
	return true;
}

bool
walredo_check_timeline(char **newval, void **extra, GucSource source)
{
	TimeLineID	tli;

	if (parse_timeline(*newval, &tli))
		return true;
	GUC_check_errdetail("The value must be \"current\", \"latest\", or the number of a timeline.");
	return false;
}

static TimeLineID
wanted_timeline(void)
{
	TimeLineID	tli = TIMELINE_CURRENT;

	/* Where the library was loaded in another way, there are no settings. */
	if (walredo_timeline_setting != NULL)
		(void) parse_timeline(walredo_timeline_setting, &tli);
	return tli;
}

/* ----------------------------------------
 * The server's own WAL
 * ----------------------------------------
 */

/*
 * How far the server's WAL is valid, and the timeline that it is on.  This is
 * what read_local_xlog_page() in src/backend/access/transam/xlogutils.c uses.
 */
static XLogRecPtr
local_wal_end(TimeLineID *tli)
{
	if (!RecoveryInProgress())
		return GetFlushRecPtr(tli);
	return GetXLogReplayRecPtr(tli);
}

static TimeLineID
local_timeline(void)
{
	TimeLineID	tli;

	(void) local_wal_end(&tli);
	return tli;
}

bool
walredo_source_is_of_server(WalredoSource *source)
{
	return source->system_identifier == GetSystemIdentifier() &&
		source->tli == local_timeline();
}

XLogRecPtr
walredo_source_local_lsn(XLogRecPtr lsn)
{
	uint32		offset = lsn % XLOG_BLCKSZ;
	bool		is_long = (XLogSegmentOffset(lsn - offset,
											 wal_segment_size) == 0);

	/*
	 * A place in the very first page, whose LSN is 0, is left as it is,
	 * because 0/0 does not stand for a place.  There is no WAL in that page
	 * anyway.
	 */
	if (lsn > offset &&
		offset <= (is_long ? SizeOfXLogLongPHD : SizeOfXLogShortPHD))
		lsn -= offset;
	return lsn;
}

/*
 * WAL that has been inserted need not be on disk yet, because other sessions
 * may commit asynchronously, or may not have committed.  It is flushed, so that
 * it can be read from the files.
 */
XLogRecPtr
walredo_source_local_end(XLogRecPtr end_lsn)
{
	TimeLineID	tli;

	if (!RecoveryInProgress())
	{
		/*
		 * XLogFlush() complains of an LSN that is after the header of a page
		 * to which nothing has been written.
		 */
		XLogRecPtr	last = walredo_source_local_lsn(GetXLogInsertRecPtr());

		if (end_lsn == PG_UINT64_MAX)
			XLogFlush(last);
		else if (end_lsn <= last)
			XLogFlush(end_lsn);
	}
	return local_wal_end(&tli);
}

/*
 * A standby may have been promoted, or may have followed its upstream server
 * to another timeline.  WAL that was valid remains so, but if it is in the
 * segment in which the timelines part, it is now read from the new timeline's
 * file.
 */
void
walredo_source_follow_server(WalredoSource *source)
{
	TimeLineID	tli = local_timeline();

	if (tli != source->tli)
	{
		/* It is not what is wanted next time. */
		source->files->kept = NULL;
		walredo_listing_refresh(source->files->listing);
		follow(source, tli, read_history(source, tli, true, true, NULL));
	}
}

/* ----------------------------------------
 * The source
 * ----------------------------------------
 */

/* Makes a source of which it is not known yet whose WAL it is. */
static WalredoSource *
open_source(const char *directories, WalredoTolerance tolerance)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo source",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoSource *source = palloc0(sizeof(WalredoSource));

	source->tolerance = tolerance;
	walredo_source_open_files(source, directories);
	MemoryContextSwitchTo(old_context);
	return source;
}

/* ----------------------------------------
 * Keeping sources
 * ----------------------------------------
 */

static const char *
setting_or_empty(const char *setting)
{
	return setting == NULL ? "" : setting;
}

/*
 * Takes note that it depends on a file whose WAL is read, or along which
 * timeline.  To be called before the file is read.
 */
static void
note_deciding_file(WalredoSource *source, const char *path)
{
	WalredoKeptSource *kept = source->files->kept;
	MemoryContext old_context;
	DecidingFile *deciding;
	ListCell   *lc;

	if (kept == NULL || list_length(kept->deciding) >= MAX_DECIDING_FILES)
		return;
	foreach(lc, kept->deciding)
	{
		/* What is read later cannot be older than what was noted first. */
		if (strcmp(((DecidingFile *) lfirst(lc))->path, path) == 0)
			return;
	}
	old_context = MemoryContextSwitchTo(kept->context);
	deciding = palloc(sizeof(DecidingFile));
	deciding->path = pstrdup(path);
	walredo_file_state_get(path, &deciding->state);
	kept->deciding = lappend(kept->deciding, deciding);
	MemoryContextSwitchTo(old_context);
}

/* Has none of the files changed on which it depended? */
static bool
deciding_files_hold(WalredoKeptSource *kept)
{
	ListCell   *lc;

	foreach(lc, kept->deciding)
	{
		DecidingFile *deciding = lfirst(lc);

		if (!walredo_file_state_holds(deciding->path, &deciding->state))
			return false;
	}
	return true;
}

/* Makes a source keepable, of which nothing has been decided yet. */
static void
prepare_to_keep(WalredoSource *source, const char *directories)
{
	MemoryContext old_context = MemoryContextSwitchTo(source->files->context);
	WalredoKeptSource *kept = palloc0(sizeof(WalredoKeptSource));

	kept->directories = directories == NULL ? NULL : pstrdup(directories);
	kept->tolerance = source->tolerance;
	kept->timeline = pstrdup(setting_or_empty(walredo_timeline_setting));
	kept->restore_command = pstrdup(setting_or_empty(walredo_restore_command));
	kept->context = AllocSetContextCreate(source->files->context,
										  "walredo kept source",
										  ALLOCSET_SMALL_SIZES);
	source->files->kept = kept;
	MemoryContextSwitchTo(old_context);
}

/* Can a source that is kept be used for this, if nothing has changed? */
static bool
is_wanted(const WalredoSource *source, const char *directories,
		  WalredoTolerance tolerance)
{
	const WalredoKeptSource *kept = source->files->kept;

	return (directories == NULL ? kept->directories == NULL :
			kept->directories != NULL &&
			strcmp(kept->directories, directories) == 0) &&
		kept->tolerance == tolerance &&
		strcmp(kept->timeline,
			   setting_or_empty(walredo_timeline_setting)) == 0 &&
		strcmp(kept->restore_command,
			   setting_or_empty(walredo_restore_command)) == 0 &&
		kept->server_tli == local_timeline();
}

static void
free_last_kept(void)
{
	MemoryContextDelete(kept_sources[--nkept_sources]->files->context);
}

static void
remove_kept(int i)
{
	nkept_sources--;
	memmove(&kept_sources[i], &kept_sources[i + 1],
			(nkept_sources - i) * sizeof(kept_sources[0]));
}

/*
 * Takes the source for this from those that are kept, into the current memory
 * context.  Returns NULL if there is none.
 */
static WalredoSource *
take_kept(const char *directories, WalredoTolerance tolerance)
{
	for (int i = 0; i < nkept_sources; i++)
	{
		WalredoSource *source = kept_sources[i];

		if (is_wanted(source, directories, tolerance))
		{
			remove_kept(i);

			/* Whoever used it last may have changed this. */
			source->tolerance = tolerance;
			MemoryContextSetParent(source->files->context,
								   CurrentMemoryContext);
			walredo_source_begin_use(source);
			return source;
		}
	}
	return NULL;
}

/*
 * Keeps a source that was used, and frees those that were not used for longest,
 * so that neither their number nor their memory is too large.
 */
static void
keep(WalredoSource *source)
{
	static MemoryContext context = NULL;
	Size		memory = 0;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
										"walredo kept sources",
										ALLOCSET_SMALL_SIZES);
	if (nkept_sources == MAX_KEPT_SOURCES)
		free_last_kept();
	memmove(&kept_sources[1], &kept_sources[0],
			nkept_sources * sizeof(kept_sources[0]));
	kept_sources[0] = source;
	nkept_sources++;
	MemoryContextSetParent(source->files->context, context);

	for (int i = 0; i < nkept_sources; i++)
	{
		MemoryContext its_context = kept_sources[i]->files->context;

		memory += MemoryContextMemAllocated(its_context, true);
		while (memory > MAX_KEPT_MEMORY && nkept_sources > i)
			free_last_kept();
	}
}

/* Decides whose WAL is read, and along which timeline. */
static void
decide(WalredoSource *source)
{
	WalredoKeptSource *kept = source->files->kept;

	/*
	 * The server may change to another timeline at any time.  If it does so
	 * from now on, the decision is for the timeline before.
	 */
	kept->server_tli = local_timeline();
	MemoryContextReset(kept->context);
	kept->deciding = NIL;
	kept->has_looked = false;
	walredo_source_close_held(source);
	source->is_local = false;
	source->files->gapless_listing = 0;

	choose_system(source);
	choose_timeline(source);
	kept->has_asked = source->files->has_asked;
}

WalredoSource *
walredo_source_begin(const char *directories, WalredoTolerance tolerance)
{
	WalredoSource *source = take_kept(directories, tolerance);
	bool		is_decided = (source != NULL);

	if (source == NULL)
	{
		source = open_source(directories, tolerance);
		prepare_to_keep(source, directories);
	}
	else if (walredo_listing_update(source->files->listing) ||
			 source->files->kept->has_asked ||
			 !deciding_files_hold(source->files->kept))
		is_decided = false;

	if (!is_decided)
		decide(source);
	if (directories != NULL && tolerance != WALREDO_TOLERATE_ALL)
		report_other_timeline(source);
	return source;
}

WalredoSource *
walredo_source_open(const char *directories, WalredoTolerance tolerance)
{
	WalredoSource *source = open_source(directories, tolerance);

	choose_system(source);
	return source;
}

void
walredo_source_end(WalredoSource *source)
{
	walredo_source_end_use(source);
	if (source->files->kept != NULL)
		keep(source);
	else
		MemoryContextDelete(source->files->context);
}

/* Makes a timeline, of which this is the history, the one that is followed. */
static void
follow(WalredoSource *source, TimeLineID tli, List *history)
{
	list_free_deep(source->history);
	source->tli = tli;
	source->history = history;
	source->files->gapless_listing = 0;
}

void
walredo_source_only_timeline(WalredoSource *source, TimeLineID tli)
{
	MemoryContext old_context = MemoryContextSwitchTo(source->files->context);

	source->files->kept = NULL;
	follow(source, tli, walredo_timeline_history(tli, NULL, 0, NULL));
	source->is_local = false;
	MemoryContextSwitchTo(old_context);
}

bool
walredo_source_has_pg_wal(WalredoSource *source)
{
	WalredoSourceFiles *files = source->files;
	struct stat local;

	if (files->has_pg_wal)
		return true;
	if (stat(XLOGDIR, &local) != 0)
		return false;
	for (int i = 0; i < files->ndirectories; i++)
	{
		struct stat st;

		if (stat(files->directories[i].path, &st) == 0 &&
			st.st_dev == local.st_dev && st.st_ino == local.st_ino)
			return true;
	}
	return false;
}

/* ----------------------------------------
 * Whose WAL it is
 * ----------------------------------------
 */

/*
 * The order in which segments are preferred to learn of a system from: whole
 * ones come before partial ones, and then the names decide, so that messages
 * do not depend on the order of the directory.
 */
static bool
comes_before(const WalredoListedFile *file, const WalredoListedFile *other)
{
	if (file->kind != other->kind)
		return file->kind < other->kind;
	if (file->tli != other->tli)
		return file->tli < other->tli;
	if (file->log != other->log)
		return file->log < other->log;
	if (file->seg != other->seg)
		return file->seg < other->seg;
	return file < other;
}

/*
 * Returns whether a listed file is one to learn of a system from: a regular
 * file that has the name of a segment, of whatever segment size.
 */
static bool
is_candidate(WalredoSource *source, const WalredoListedFile *file)
{
	char		path[MAXPGPATH];
	struct stat st;

	if (file->kind != WALREDO_FILE_WHOLE && file->kind != WALREDO_FILE_PARTIAL)
		return false;
	walredo_listed_path(source->files->listing, file, path);
	note_deciding_file(source, path);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static void
report_no_valid_segment(WalredoSource *source, const WalredoListedFile *first)
{
	XLogLongPageHeaderData header;
	char		path[MAXPGPATH];
	char		name[WALREDO_LISTED_NAME];
	const char *problem;

	walredo_listed_path(source->files->listing, first, path);
	walredo_listed_name(first, name);
	problem = walredo_source_read_header(source, path, &header);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid WAL segment \"%s\"", name),
			 errdetail("No segment in directory \"%s\" begins with a valid page header of this PostgreSQL version.",
					   source->directory),
			 problem != NULL ?
			 errhint("There is a file \"%s\", but it cannot be used: %s.", name, problem) : 0));
}

static void
report_two_systems(WalredoSource *source, const WalredoListedFile *a,
				   uint64 a_identifier, const WalredoListedFile *b,
				   uint64 b_identifier)
{
	char		a_name[WALREDO_LISTED_NAME];
	char		b_name[WALREDO_LISTED_NAME];

	walredo_listed_name(a, a_name);
	walredo_listed_name(b, b_name);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("WAL segments of different database systems in directory \"%s\"",
					source->directory),
			 errdetail("Segment \"%s\" belongs to the database system with identifier " UINT64_FORMAT ", but segment \"%s\" to the one with identifier " UINT64_FORMAT ".",
					   a_name, a_identifier, b_name, b_identifier),
			 errhint("Put the segments of each database system into a directory of their own.")));
}

/*
 * Sets the system identifier and the segment size: this server's if pg_wal is
 * among the directories, or if there is a segment of this server's system, or
 * else those of the only system of which there are segments.
 *
 * The headers of all other segments are checked against these when they are
 * read.
 */
static void
choose_system(WalredoSource *source)
{
	/*
	 * The first valid segment, and the first one of another system than that.
	 * "First" is meant as comes_before() says.
	 */
	const WalredoListedFile *found[2] = {NULL, NULL};
	XLogLongPageHeaderData headers[2];
	XLogLongPageHeaderData header;
	const WalredoListedFile *first = NULL;
	const WalredoListedFile *listed;
	int			nlisted;

	source->system_identifier = GetSystemIdentifier();
	source->segsize = wal_segment_size;
	if (source->files->has_pg_wal)
		return;

	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((first == NULL || comes_before(&listed[i], first)) &&
			is_candidate(source, &listed[i]))
			first = &listed[i];
	}
	if (first == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("no WAL segments in directory \"%s\"",
						source->directory)));

	/*
	 * Usually this is an archive of this server's, and then the header of one
	 * segment is enough.  If it is not, all headers have to be read, because
	 * any of them can be of this server's system.
	 */
	if (walredo_source_is_valid(source, first, &header) &&
		header.xlp_sysid == GetSystemIdentifier())
	{
		source->segsize = header.xlp_seg_size;
		return;
	}

	for (int i = 0; i < nlisted; i++)
	{
		int			other;

		CHECK_FOR_INTERRUPTS();
		if (!is_candidate(source, &listed[i]) ||
			!walredo_source_is_valid(source, &listed[i], &header))
			continue;

		if (header.xlp_sysid == GetSystemIdentifier())
		{
			source->segsize = header.xlp_seg_size;
			return;
		}
		other = found[0] != NULL && header.xlp_sysid != headers[0].xlp_sysid;
		if (found[other] == NULL ||
			(header.xlp_sysid == headers[other].xlp_sysid &&
			 comes_before(&listed[i], found[other])))
		{
			found[other] = &listed[i];
			headers[other] = header;
		}
	}

	if (found[0] == NULL)
		report_no_valid_segment(source, first);
	if (found[1] != NULL)
		report_two_systems(source, found[0], headers[0].xlp_sysid,
						   found[1], headers[1].xlp_sysid);

	source->system_identifier = headers[0].xlp_sysid;
	source->segsize = headers[0].xlp_seg_size;
}

/* ----------------------------------------
 * Which timeline is followed
 * ----------------------------------------
 */

/* Is there a segment of a timeline, or its history file? */
static bool
has_timeline(WalredoSource *source, TimeLineID tli, bool has_history)
{
	XLogLongPageHeaderData header;
	const WalredoListedFile *listed;
	int			nlisted;

	if (has_history)
		return true;
	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (listed[i].tli == tli && is_candidate(source, &listed[i]) &&
			walredo_source_is_valid(source, &listed[i], &header) &&
			header.xlp_sysid == source->system_identifier)
			return true;
	}
	return false;
}

/* Sets the timeline that is followed, and its history. */
static void
choose_timeline(WalredoSource *source)
{
	bool		is_own = source->system_identifier == GetSystemIdentifier();
	TimeLineID	tli = wanted_timeline();
	bool		found;
	List	   *history;

	if (tli == TIMELINE_CURRENT && is_own)
	{
		if (source->files->has_pg_wal)
		{
			tli = local_timeline();
			follow(source, tli, read_history(source, tli, true, true, NULL));
			source->is_local = true;
			return;
		}
		if (follow_local_in_directories(source))
			return;
	}
	if (tli == TIMELINE_CURRENT || tli == TIMELINE_LATEST)
	{
		tli = newest_timeline(source);
		history = read_history(source, tli, source->files->has_pg_wal, true,
							   NULL);
	}
	else
	{
		history = read_history(source, tli, source->files->has_pg_wal, true,
							   &found);
		if (!has_timeline(source, tli, found))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("no WAL of timeline %u in directory \"%s\"",
							tli, source->directory),
					 errhint("Set walredo.timeline to \"current\", to \"latest\", or to a timeline that walredo_wal_range() shows.")));
	}
	follow(source, tli, history);
	source->is_local = source->files->has_pg_wal &&
		walredo_source_is_of_server(source);
}

/*
 * Follows this server's timeline, in directories with WAL of this server's
 * system.  Returns false if they hold no WAL of that timeline or its ancestors.
 *
 * Other servers of the same system may archive to the same place: restored
 * copies, which were promoted to timelines that this server does not know.
 * Two of them may even have been promoted to timelines with the same number.
 * What is in pg_wal is therefore preferred to what is in the directories, and
 * where the two contradict each other, the segments cannot be trusted.
 */
static bool
follow_local_in_directories(WalredoSource *source)
{
	TimeLineID	tli = local_timeline();
	bool		found_local;
	bool		found_there;
	List	   *local_history = read_history(source, tli, true, false,
											 &found_local);
	List	   *history = read_history(source, tli, false, true, &found_there);

	follow(source, tli, found_local ? local_history : history);
	if (!holds_history(source))
	{
		list_free_deep(local_history);
		list_free_deep(history);
		source->history = NIL;
		return false;
	}
	if (found_local && found_there &&
		!walredo_timeline_histories_equal(local_history, history))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("history of timeline %u in directory \"%s\" is not this server's",
						tli, source->directory),
				 errdetail("Another server of the same database system has created a timeline with that number, and its segments cannot be distinguished from those of this server."),
				 errhint("Remove the files of the other server from the directory.")));

	list_free_deep(found_local ? history : local_history);
	return true;
}

/*
 * Returns whether there is a segment of the history that belongs to the system
 * that is read.
 */
static bool
holds_history(WalredoSource *source)
{
	XLogLongPageHeaderData header;
	const WalredoListedFile *listed;
	int			nlisted;

	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		XLogSegNo	segno;

		CHECK_FOR_INTERRUPTS();
		if (walredo_source_segno(source, &listed[i], &segno) &&
			walredo_source_in_history(source, listed[i].tli, segno) &&
			is_candidate(source, &listed[i]) &&
			walredo_source_is_valid(source, &listed[i], &header) &&
			header.xlp_sysid == source->system_identifier)
			return true;
	}
	return false;
}

/* Is there a segment of another system than the one that is read? */
static bool
has_other_system(WalredoSource *source)
{
	XLogLongPageHeaderData header;
	const WalredoListedFile *listed;
	int			nlisted;

	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_candidate(source, &listed[i]) &&
			walredo_source_is_valid(source, &listed[i], &header) &&
			header.xlp_sysid != source->system_identifier)
			return true;
	}
	return false;
}

/*
 * The newest timeline that has a segment of the system that is read, or a
 * history file.  A history file does not say to which system it belongs, so
 * history files do not count if segments of other systems are there.
 */
static TimeLineID
newest_timeline(WalredoSource *source)
{
	const WalredoListedFile *listed;
	int			nlisted;
	TimeLineID	newest = 0;
	TimeLineID	newest_history = 0;
	XLogLongPageHeaderData header;
	char		path[MAXPGPATH];
	char		name[MAXFNAMELEN];

	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (listed[i].tli > newest && is_candidate(source, &listed[i]) &&
			walredo_source_is_valid(source, &listed[i], &header) &&
			header.xlp_sysid == source->system_identifier)
			newest = listed[i].tli;
	}

	listed = walredo_history_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		struct stat st;

		CHECK_FOR_INTERRUPTS();
		walredo_listed_path(source->files->listing, &listed[i], path);
		note_deciding_file(source, path);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			newest_history = Max(newest_history, listed[i].tli);
	}

	if (newest_history > newest && !has_other_system(source))
		newest = newest_history;

	/*
	 * Ask for the history files of later timelines, one after the other, as
	 * findNewestTimeLine() in src/backend/access/transam/timeline.c does.
	 */
	while (wanted_timeline() == TIMELINE_LATEST && newest < TIMELINE_LATEST - 1)
	{
		TLHistoryFileName(name, newest + 1);
		if (!walredo_source_restore(source, name, path))
			break;
		newest++;
	}
	return newest;
}

/*
 * Reads a file of at most WALREDO_MAX_HISTORY_LENGTH bytes, and one more.
 * Returns NULL if it is not there.
 */
static char *
read_history_file(WalredoSource *source, const char *path, Size *length)
{
	struct stat st;
	int			fd;
	const char *problem;
	char	   *text;

	note_deciding_file(source, path);
	fd = walredo_open_regular_file(path, &st);
	if (fd < 0)
	{
		if (errno != ENOENT)
			walredo_source_report_not_opened(path);
		return NULL;
	}
	text = palloc(WALREDO_MAX_HISTORY_LENGTH + 1);
	*length = walredo_segment_file_read(source->files->probing, fd, &st,
										PG_INT32_MAX, 0, text,
										WALREDO_MAX_HISTORY_LENGTH + 1,
										&problem);
	CloseTransientFile(fd);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read file \"%s\"", path),
				 errdetail("There is a file, but it cannot be used: %s.",
						   problem)));
	return text;
}

/*
 * The text of a timeline's history file, or NULL if there is none.  It is
 * looked for in the server's pg_wal if local is set, and in the directories and
 * by walredo.restore_command if elsewhere is set.  path is set, for messages.
 */
static char *
find_history(WalredoSource *source, TimeLineID tli, bool local, bool elsewhere,
			 char *path, Size *length)
{
	const WalredoListedFile *listed;
	int			nlisted;
	char		name[MAXFNAMELEN];
	char	   *text = NULL;

	TLHistoryFileName(name, tli);
	if (local)
	{
		snprintf(path, MAXPGPATH, XLOGDIR "/%s", name);
		text = read_history_file(source, path, length);
	}
	if (text != NULL || !elsewhere)
		return text;

	listed = walredo_history_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted && text == NULL; i++)
	{
		if (listed[i].tli != tli)
			continue;
		walredo_listed_path(source->files->listing, &listed[i], path);
		text = read_history_file(source, path, length);
	}

	/* The first timeline has none. */
	if (text == NULL && tli > 1 && walredo_source_restore(source, name, path))
		text = read_history_file(source, path, length);
	return text;
}

/*
 * Reads the history of a timeline, in the memory context of the source.  A
 * timeline that has no history file has no parents; *found, which may be NULL,
 * is set to whether there is one.
 */
static List *
read_history(WalredoSource *source, TimeLineID tli, bool local, bool elsewhere,
			 bool *found)
{
	MemoryContext old_context = MemoryContextSwitchTo(source->files->context);
	char		path[MAXPGPATH] = "";
	Size		length = 0;
	char	   *text = NULL;
	List	   *history;

	/* As in readTimeLineHistory(), timeline 1 has no history file. */
	if (tli != 1)
		text = find_history(source, tli, local, elsewhere, path, &length);
	history = walredo_timeline_history(tli, text, length, path);

	if (found != NULL)
		*found = (text != NULL);
	if (text != NULL)
		pfree(text);
	MemoryContextSwitchTo(old_context);

	return history;
}

/*
 * Returns a timeline that is not in the history that is followed and of which
 * there is WAL of the system that is read, or 0.
 */
static TimeLineID
find_other_timeline(WalredoSource *source)
{
	const WalredoListedFile *listed;
	int			nlisted;

	listed = walredo_segment_files(source->files->listing, &nlisted);
	for (int i = 0; i < nlisted; i++)
	{
		XLogLongPageHeaderData header;

		CHECK_FOR_INTERRUPTS();
		if (walredo_source_timeline(source, listed[i].tli) == NULL &&
			is_candidate(source, &listed[i]) &&
			walredo_source_is_valid(source, &listed[i], &header) &&
			header.xlp_sysid == source->system_identifier)
			return listed[i].tli;
	}
	return 0;
}

/*
 * Says which timeline is followed if there is WAL of another one, once for each
 * statement.  Someone who has given the timeline's number knows.
 */
static void
report_other_timeline(WalredoSource *source)
{
	static TimestampTz last_statement = 0;
	WalredoKeptSource *kept = source->files->kept;

	if (wanted_timeline() != TIMELINE_CURRENT &&
		wanted_timeline() != TIMELINE_LATEST)
		return;
	if (last_statement == GetCurrentStatementStartTimestamp())
		return;

	if (!kept->has_looked)
	{
		kept->other_tli = find_other_timeline(source);
		kept->has_looked = true;
	}
	if (kept->other_tli == 0)
		return;
	last_statement = GetCurrentStatementStartTimestamp();
	ereport(NOTICE,
			(errmsg("WAL is read along timeline %u", source->tli),
			 errdetail("Directory \"%s\" also has WAL of timeline %u, which is not in the history of that timeline.",
					   source->directory, kept->other_tli),
			 errhint("Set walredo.timeline to follow another timeline.")));
}
