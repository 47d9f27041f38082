/*-------------------------------------------------------------------------
 *
 * bases.c
 *	  Backups as the source of base images, for one scan of WAL.
 *
 * Of several backups, one is used for all pages of a scan, as WAL has to be
 * read from its start on.  The newest one takes the least WAL.  But a backup
 * that ended after the LSN as of which pages are wanted has only some of them,
 * so that one that ended before is preferred, even if it is older.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/bases.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "page/bases.h"
#include "wal/reader.h"

/* A backup that may be used. */
typedef struct WalredoBaseCandidate
{
	WalredoBackup *backup;
	bool		has_page;		/* the page that is wanted can be used */
	bool		is_complete;	/* it ended by the LSN that is wanted */
} Candidate;

WalredoBases *
walredo_bases_open(void)
{
	WalredoBases *bases = palloc0(sizeof(WalredoBases));

	bases->backups = walredo_backups_open(&bases->reasons);
	return bases;
}

/* qsort() comparator: the best candidate first. */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *ca = a;
	const Candidate *cb = b;

	if (ca->has_page != cb->has_page)
		return ca->has_page ? -1 : 1;
	if (ca->is_complete != cb->is_complete)
		return ca->is_complete ? -1 : 1;
	if (ca->backup->start_lsn != cb->backup->start_lsn)
		return ca->backup->start_lsn > cb->backup->start_lsn ? -1 : 1;
	return 0;
}

/* Adds a sentence that says why a backup is not used. */
static void
add_reason(WalredoBases *bases, char *reason)
{
	bases->reasons = lappend(bases->reasons, reason);
}

/*
 * Fills in the array of candidates, the best one first, and returns their
 * number.
 */
static int
find_candidates(WalredoBases *bases, const WalredoTag *tag, XLogRecPtr lsn,
				Candidate *candidates)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, bases->backups)
	{
		WalredoBackup *backup = lfirst(lc);
		Candidate  *candidate = &candidates[n];
		WalredoBackupStatus status;
		const bytea *image;
		char	   *problem = NULL;

		if (backup->start_lsn > lsn)
		{
			add_reason(bases,
					   psprintf("Backup \"%s\" starts at %X/%X, which is after the LSN asked for.",
								backup->directory,
								LSN_FORMAT_ARGS(backup->start_lsn)));
			continue;
		}
		candidate->backup = backup;
		candidate->is_complete = backup->end_lsn != InvalidXLogRecPtr &&
			backup->end_lsn <= lsn;
		status = tag == NULL ? WALREDO_BACKUP_HAS :
			walredo_backup_read(backup, tag, lsn, &image, &problem);
		candidate->has_page = status == WALREDO_BACKUP_HAS ||
			(status == WALREDO_BACKUP_LACKS && candidate->is_complete);
		if (problem != NULL)
			add_reason(bases, problem);
		n++;
	}
	qsort(candidates, n, sizeof(Candidate), compare_candidates);
	return n;
}

/*
 * Says why none of the candidates is used.  WARNING if the reason is that WAL
 * is missing, as the user expects more of a backup then.
 */
static void
report_not_used(WalredoBases *bases, WalredoReader *reader,
				const Candidate *candidates, int ncandidates)
{
	uint64		system_identifier = walredo_reader_system(reader);
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	const WalredoBackup *unreached = NULL;

	for (int i = 0; i < ncandidates; i++)
	{
		const WalredoBackup *backup = candidates[i].backup;

		if (backup->system_identifier != system_identifier)
			add_reason(bases,
					   psprintf("Backup \"%s\" is of the database system with identifier " UINT64_FORMAT ", but WAL is of " UINT64_FORMAT ".",
								backup->directory,
								backup->system_identifier,
								system_identifier));
		else if (backup->start_lsn >= first_lsn)
			add_reason(bases,
					   psprintf("Backup \"%s\", which starts at %X/%X on timeline %u, is not, or not known to be, in the history of the WAL that is read.",
								backup->directory,
								LSN_FORMAT_ARGS(backup->start_lsn),
								backup->tli));
		else
		{
			add_reason(bases,
					   psprintf("Backup \"%s\" starts at %X/%X, but WAL can be read without a gap only from %X/%X on.",
								backup->directory,
								LSN_FORMAT_ARGS(backup->start_lsn),
								LSN_FORMAT_ARGS(first_lsn)));
			if (unreached == NULL ||
				backup->start_lsn > unreached->start_lsn)
				unreached = backup;
		}
	}
	if (unreached == NULL || bases->has_warned)
		return;
	bases->has_warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("WAL does not reach back to a backup"),
			 errdetail("Backup \"%s\" starts at %X/%X, but WAL can be read without a gap only from %X/%X on.",
					   unreached->directory,
					   LSN_FORMAT_ARGS(unreached->start_lsn),
					   LSN_FORMAT_ARGS(first_lsn)),
			 errhint("Specify a directory that has WAL before %X/%X: WAL segment \"%s\" is the first that is missing.",
					 LSN_FORMAT_ARGS(first_lsn),
					 walredo_reader_segment_name(reader, first_lsn - 1))));
}

/* The place in WAL where a backup starts. */
static WalredoWalPoint
start_point(const WalredoBackup *backup)
{
	WalredoWalPoint point = {
		.system_identifier = backup->system_identifier,
		.tli = backup->tli,
		.lsn = backup->start_lsn,
		.end_lsn = backup->end_lsn
	};

	return point;
}

/*
 * Uses a backup, or none if it is NULL, for pages as of lsn.
 */
static void
use_backup(WalredoBases *bases, WalredoReader *reader, WalredoBackup *backup,
		   XLogRecPtr lsn)
{
	bases->backup = backup;
	bases->lsn = Min(lsn, walredo_reader_last_lsn(reader));

	/*
	 * If it is not known where WAL ends, only those pages are usable that
	 * were not changed after the start of the backup.  WAL has images of the
	 * others.
	 */
	if (backup != NULL && bases->lsn >= PG_UINT64_MAX - WalSegMaxSize)
		bases->lsn = backup->start_lsn;
}

WalredoReader *
walredo_bases_begin_reader(WalredoBases *bases, const char *directory,
						   XLogRecPtr lsn)
{
	int			max = list_length(bases->backups);
	Candidate  *candidates = palloc(Max(max, 1) * sizeof(Candidate));
	WalredoWalPoint *points = palloc(Max(max, 1) * sizeof(WalredoWalPoint));
	int			ncandidates = find_candidates(bases, NULL, lsn, candidates);
	WalredoReader *reader;
	int			chosen = -1;

	for (int i = 0; i < ncandidates; i++)
		points[i] = start_point(candidates[i].backup);
	if (ncandidates == 0)
		reader = walredo_reader_begin(directory, WALREDO_START_OF_WAL, lsn);
	else
		reader = walredo_reader_begin_at(directory, points, ncandidates, lsn,
										 &chosen);
	use_backup(bases, reader,
			   chosen >= 0 ? candidates[chosen].backup : NULL, lsn);
	if (chosen < 0)
		report_not_used(bases, reader, candidates, ncandidates);
	pfree(candidates);
	pfree(points);
	return reader;
}

bool
walredo_bases_rank(WalredoBases *bases, const WalredoTag *tag, XLogRecPtr lsn)
{
	bases->candidates = palloc(Max(list_length(bases->backups), 1) *
							   sizeof(Candidate));
	bases->ncandidates = find_candidates(bases, tag, lsn, bases->candidates);
	return bases->ncandidates > 0;
}

/*
 * Returns the best candidate that starts in the history of WAL, between two
 * LSNs, or NULL.
 */
static WalredoBackup *
best_candidate(WalredoBases *bases, WalredoReader *reader,
			   XLogRecPtr first_lsn, XLogRecPtr last_lsn)
{
	for (int i = 0; i < bases->ncandidates; i++)
	{
		WalredoBackup *backup = bases->candidates[i].backup;
		WalredoWalPoint point = start_point(backup);

		if (backup->start_lsn >= first_lsn &&
			backup->start_lsn <= last_lsn &&
			walredo_reader_has_point(reader, &point))
			return backup;
	}
	return NULL;
}

XLogRecPtr
walredo_bases_reached(WalredoBases *bases, WalredoReader *reader,
					  XLogRecPtr wal_end, XLogRecPtr lsn)
{
	const WalredoBackup *backup = best_candidate(bases, reader,
												 InvalidXLogRecPtr, wal_end);

	return backup != NULL && backup->start_lsn >= lsn ?
		backup->start_lsn : InvalidXLogRecPtr;
}

void
walredo_bases_settle(WalredoBases *bases, WalredoReader *reader,
					 XLogRecPtr wal_end, XLogRecPtr lsn, bool none_needed)
{
	WalredoBackup *backup = none_needed ? NULL :
		best_candidate(bases, reader, walredo_reader_first_lsn(reader),
					   wal_end);

	use_backup(bases, reader, backup, lsn);
	if (backup == NULL && !none_needed)
		report_not_used(bases, reader, bases->candidates,
						bases->ncandidates);
}
