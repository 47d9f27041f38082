/*-------------------------------------------------------------------------
 *
 * pagefuncs.c
 *	  SQL functions that make pages from WAL, and compare them.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/pagefuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/relpath.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "page/bases.h"
#include "page/current.h"
#include "page/diff.h"
#include "page/page_at.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "record/tag.h"
#include "storage/bufpage.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_page_at, WALREDO_COMMAND_PAGE_AT)
WALREDO_LONG_FUNCTION(walredo_page_at_relation, WALREDO_COMMAND_PAGE_AT)
WALREDO_LONG_FUNCTION(walredo_page_at_main_fork, WALREDO_COMMAND_PAGE_AT)
WALREDO_LONG_FUNCTION(walredo_page_at_literals, WALREDO_COMMAND_PAGE_AT)
WALREDO_LONG_FUNCTION(walredo_page_at_relation_literals,
					  WALREDO_COMMAND_PAGE_AT)
WALREDO_LONG_FUNCTION(walredo_read_pages,
					  PG_ARGISNULL(1) ? WALREDO_COMMAND_PAGES_AT_ALL :
					  WALREDO_COMMAND_PAGES_AT)
WALREDO_LONG_FUNCTION(walredo_read_file_pages, WALREDO_COMMAND_PAGES_AT)
WALREDO_LONG_FUNCTION(walredo_read_pages_literals, WALREDO_COMMAND_PAGES_AT)
WALREDO_LONG_FUNCTION(walredo_read_pages_of_files,
					  WALREDO_COMMAND_PAGES_AT_ALL)
WALREDO_LONG_FUNCTION(walredo_read_pages_of_literals,
					  WALREDO_COMMAND_PAGES_AT_ALL)
PG_FUNCTION_INFO_V1(walredo_page_diff);

/* How many blocks are returned before the progress is shown again. */
#define BLOCKS_BETWEEN_SHOWS	64

/*
 * Can a page be made from a change alone?
 */
static bool
change_makes_page(const WalredoPageChange *change)
{
	return change->starts_page && change->what != WALREDO_CHANGE_UNKNOWN;
}

/*
 * ERROR if a fork is the free space map.  WAL has images of some of its pages,
 * but not all of its changes.
 */
static void
check_is_logged(ForkNumber forknum)
{
	if (forknum == FSM_FORKNUM)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rebuild pages of a free space map"),
				 errdetail("WAL may have images of them, but changes of a free space map are not logged."),
				 errhint("Read the current page with get_raw_page(), or let VACUUM rebuild the map.")));
}

/* The same for a fork of a relation, and ERROR if WAL has nothing of it. */
static void
check_is_logged_relation(Oid relid, ForkNumber forknum)
{
	check_is_logged(forknum);
	if (forknum != INIT_FORKNUM &&
		get_rel_persistence(relid) == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" is not logged",
						get_rel_name(relid)),
				 errdetail("WAL contains only the init fork of an unlogged relation.")));
}

/*
 * The end LSN of the first record from start_lsn on that a page can be made
 * from, or InvalidXLogRecPtr if there is none.  This is for the detail of an
 * error, so that WAL which is missing there must not raise another.
 */
static XLogRecPtr
first_start_after(const WalredoPageFilter *filter, const char *directory,
				  XLogRecPtr start_lsn)
{
	WalredoPageScan *scan = walredo_page_scan_seek(filter, directory,
												   start_lsn);
	XLogRecPtr	found = InvalidXLogRecPtr;

	while (found == InvalidXLogRecPtr && walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_changes; i++)
		{
			if (change_makes_page(&scan->list[i]))
				found = walredo_reader_end_lsn(scan->reader);
		}
	}
	walredo_page_scan_end(scan);
	return found;
}

/*
 * ERROR if one of some relations has got the file that it has now after an LSN:
 * its pages as they were then are in another file, or it did not exist.  lsn is
 * where the last record that is wanted ended, and tags are of the relations as
 * they are stored now.
 *
 * Names are resolved as of now, so WAL is read up to where the server is now,
 * even if the directory has no WAL after lsn.
 */
static void
check_files_are_older(const Oid *relids, const WalredoTag *tags, int ntags,
					  const char *directory, XLogRecPtr lsn)
{
	WalredoTag	tag;
	XLogRecPtr	created;
	RelFileLocator locator;
	Oid			relid = InvalidOid;
	char	   *relname = NULL;

	if (!walredo_find_created_file(tags, ntags,
								   walredo_wal_with_local(directory), lsn,
								   &tag, &created))
		return;
	for (int i = 0; i < ntags && relname == NULL; i++)
	{
		if (walredo_tag_same_fork(&tag, &tags[i]))
		{
			relid = relids[i];
			relname = get_rel_name(relid);
		}
	}
	locator = walredo_tag_locator(&tag);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 relname != NULL ?
			 errmsg("relation \"%s\" had another file, or did not exist, at %X/%X",
					relname, LSN_FORMAT_ARGS(lsn)) :
			 errmsg("relation with OID %u had another file, or did not exist, at %X/%X",
					relid, LSN_FORMAT_ARGS(lsn)),
			 errdetail("The file \"%s\" of the relation was created at %X/%X.",
					   walredo_relation_path(locator, MAIN_FORKNUM),
					   LSN_FORMAT_ARGS(created)),
			 errhint("Specify the address of a page in the file that the relation had then, as a walredo_tag.")));
}

/*
 * Adds to a detail why no backup gives a page, if that is so.
 */
static void
append_backup_problems(StringInfo detail, const WalredoBases *bases,
					   const WalredoRebuiltPage *page)
{
	ListCell   *lc;

	if (bases->backup != NULL && page->is_not_in_backup)
		appendStringInfo(detail, " The page is not in backup \"%s\".",
						 bases->backup->directory);
	if (page->backup_problem != NULL &&
		list_length(bases->reasons) == 0)
		appendStringInfo(detail, " %s", page->backup_problem);
	foreach(lc, bases->reasons)
		appendStringInfo(detail, " %s", (char *) lfirst(lc));
}

/*
 * ERROR that says why a page cannot be made as of lsn, which is where the scan
 * has come to its end, and what would help.
 */
static void
report_no_image(WalredoPageScan *scan, const char *directory, XLogRecPtr lsn,
				const WalredoBases *bases, const WalredoRebuiltPage *page)
{
	XLogRecPtr	wal_start = walredo_reader_first_lsn(scan->reader);
	XLogRecPtr	wal_end = walredo_page_scan_end_lsn(scan);
	const char *name = walredo_tag_to_cstring(&scan->filter->tag);
	char	   *ended_at = psprintf("%X/%X", LSN_FORMAT_ARGS(page->end_lsn));
	const char *problem = walredo_rebuilt_page_problem(page);
	XLogRecPtr	later;
	StringInfoData detail;

	if (lsn == WALREDO_END_OF_WAL)
		lsn = wal_end;
	if (page->num_records == 0 &&
		(page->end == WALREDO_TRUNCATED ||
		 page->end == WALREDO_FILE_REMOVED ||
		 page->end == WALREDO_FILE_CREATED))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s does not exist at %X/%X", name,
						LSN_FORMAT_ARGS(lsn)),
				 page->end == WALREDO_TRUNCATED ?
				 errdetail("The page was truncated at %s, and WAL has no record of it since.",
						   ended_at) :
				 page->end == WALREDO_FILE_REMOVED ?
				 errdetail("The file of the page was removed at %s.", ended_at) :
				 errdetail("The file of the page was created at %s, and WAL has no record of the page since.",
						   ended_at)));

	initStringInfo(&detail);
	if (problem != NULL)
		appendStringInfoString(&detail, problem);
	else if (page->end != WALREDO_NOT_ENDED)
		appendStringInfo(&detail, "The earlier contents of the page became invalid at %s. Since then, WAL has " UINT64_FORMAT " records of the page, but none that initializes it or contains an image of it.",
						 ended_at, page->num_records);
	else if (page->num_records == 0)
		appendStringInfo(&detail, "WAL from %X/%X to %X/%X has no record of the page.",
						 LSN_FORMAT_ARGS(wal_start), LSN_FORMAT_ARGS(lsn));
	else
		appendStringInfo(&detail, "WAL from %X/%X to %X/%X has " UINT64_FORMAT " records of the page, but none that initializes it or contains an image of it.",
						 LSN_FORMAT_ARGS(wal_start), LSN_FORMAT_ARGS(lsn),
						 page->num_records);
	if (page->end == WALREDO_NOT_ENDED)
		append_backup_problems(&detail, bases, page);

	later = first_start_after(scan->filter, directory, wal_end);
	if (later != InvalidXLogRecPtr)
		appendStringInfo(&detail, " The earliest LSN at which it can be rebuilt is %X/%X.",
						 LSN_FORMAT_ARGS(later));

	/* Older WAL helps only if nothing has come to an end since. */
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot rebuild %s at %X/%X", name, LSN_FORMAT_ARGS(lsn)),
			 errdetail_internal("%s", detail.data),
			 page->end == WALREDO_NOT_ENDED && !page->is_incomplete &&
			 bases->backup == NULL ?
			 errhint("Specify a base image, or a directory that has WAL before %X/%X: WAL segment \"%s\" is the first that is missing.",
					 LSN_FORMAT_ARGS(wal_start),
					 walredo_reader_segment_name(scan->reader,
												 wal_start - 1)) :
			 errhint("Specify a base image.")));
}

/*
 * Could the server's own page be what a page was at the LSN up to which a
 * rebuild has it, and of which the rebuild has no image?
 *
 * Not if the page did not exist: because it has ended, or because a backup is
 * used that does not have it, and there is no record of it since.
 */
static bool
may_be_current(const WalredoBases *bases, const WalredoRebuiltPage *page)
{
	if (page->num_records > 0)
		return true;
	switch (page->end)
	{
		case WALREDO_TRUNCATED:
		case WALREDO_FILE_REMOVED:
		case WALREDO_FILE_CREATED:
			return false;
		case WALREDO_NOT_ENDED:
			return bases->backup == NULL || page->backup_problem != NULL;
		case WALREDO_FILE_COPIED:
		case WALREDO_UNKNOWN_CHANGE:
			break;
	}
	return true;
}

/*
 * The server's own page, if it is what a page was at the LSN up to which a
 * rebuild has it; else NULL.
 */
static bytea *
current_page(WalredoCurrent *current, int fork,
			 const WalredoTag *tag, const WalredoRebuiltPage *page)
{
	bytea	   *image;

	if (current == NULL)
		return NULL;
	image = walredo_current_page(current, fork, (BlockNumber) tag->number);

	/* It must not lack changes that WAL has. */
	if (image != NULL && PageGetLSN((Page) VARDATA(image)) < page->last_lsn)
		return NULL;
	return image;
}

/*
 * The image of a page as of lsn.  relid is the relation that has been asked
 * for, of which the tag is the address now, or InvalidOid.
 */
static bytea *
page_at(Oid relid, const WalredoTag *tag, XLogRecPtr lsn,
		const WalredoGivenBase *base, const char *directory)
{
	WalredoPageAt *at;
	WalredoRebuiltPage *page;
	bytea	   *image;

	walredo_progress_set_target(relid, tag);
	if (OidIsValid(relid))
		check_is_logged_relation(relid, tag->forknum);
	else if (tag->kind == WALREDO_TAG_REL)
		check_is_logged(tag->forknum);

	at = walredo_page_at_read(tag, lsn, base, directory);
	if (OidIsValid(relid))
		check_files_are_older(&relid, tag, 1, directory,
							  walredo_page_scan_end_lsn(at->scan));
	walredo_page_at_get(at);
	page = &at->page;
	if (page->image == NULL && base->image == NULL &&
		may_be_current(at->bases, page))
	{
		WalredoCurrent *current;

		current = walredo_current_begin(tag, 1, true, directory,
										at->scan->reader,
										walredo_page_scan_end_lsn(at->scan));
		page->image = current_page(current, 0, tag, page);
	}
	if (page->image == NULL)
		report_no_image(at->scan, directory, lsn, at->bases, page);
	image = page->image;
	walredo_page_at_end(at);
	return image;
}

/*
 * walredo_page_at(tag, lsn, base, wal_directory, base_lsn)
 */
static Datum
walredo_page_at_work(PG_FUNCTION_ARGS)
{
	WalredoGivenBase base = {NULL, InvalidXLogRecPtr};

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	if (!PG_ARGISNULL(2))
		base.image = PG_GETARG_BYTEA_P(2);
	if (!PG_ARGISNULL(4))
		base.lsn = PG_GETARG_LSN(4);
	PG_RETURN_BYTEA_P(page_at(InvalidOid, PG_GETARG_WALREDO_TAG_P(0),
							  PG_GETARG_LSN(1), &base,
							  walredo_getarg_cstring(fcinfo, 3)));
}

/* The image of a block of a relation, as it is stored now, as of lsn. */
static bytea *
relation_page_at(Oid relid, const char *fork, int64 blkno, XLogRecPtr lsn,
				 const char *directory)
{
	const WalredoGivenBase no_base = {NULL, InvalidXLogRecPtr};
	WalredoTag	tag;

	walredo_tag_of_relation(relid, fork, blkno, &tag);
	return page_at(relid, &tag, lsn, &no_base, directory);
}

/*
 * walredo_page_at(relname regclass, fork text, blkno int8, lsn pg_lsn,
 *				   wal_directory text)
 */
static Datum
walredo_page_at_relation_work(PG_FUNCTION_ARGS)
{
	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) ||
		PG_ARGISNULL(3))
		PG_RETURN_NULL();

	PG_RETURN_BYTEA_P(relation_page_at(PG_GETARG_OID(0),
									   walredo_getarg_cstring(fcinfo, 1),
									   PG_GETARG_INT64(2), PG_GETARG_LSN(3),
									   walredo_getarg_cstring(fcinfo, 4)));
}

/*
 * walredo_page_at(relname regclass, blkno int8, lsn pg_lsn, wal_directory text)
 */
static Datum
walredo_page_at_main_fork_work(PG_FUNCTION_ARGS)
{
	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();

	PG_RETURN_BYTEA_P(relation_page_at(PG_GETARG_OID(0),
									   forkNames[MAIN_FORKNUM],
									   PG_GETARG_INT64(1), PG_GETARG_LSN(2),
									   walredo_getarg_cstring(fcinfo, 3)));
}

/*
 * The image of a block of a relation, from the text of the arguments after the
 * relation: a fork, unless it is the main fork, a block number, an LSN, and a
 * directory, which may be left out.  NULL if one of them but the directory is
 * NULL.  A block number has a digit or a sign where a fork has a letter.
 */
static bytea *
relation_page_at_literals(Oid relid, char **args, int nargs)
{
	const char *fork = forkNames[MAIN_FORKNUM];
	const char *start;
	Datum		blkno;
	Datum		lsn;

	if (nargs == 0 || args[0] == NULL)
		return NULL;
	start = args[0] + strspn(args[0], " \t\n\r\f\v");
	if (nargs > 2 && strchr("0123456789+-", *start) == NULL)
	{
		fork = args[0];
		args++;
		nargs--;
	}
	if (args[0] == NULL || args[1] == NULL)
		return NULL;
	blkno = DirectFunctionCall1(int8in, CStringGetDatum(args[0]));
	lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[1]));
	return relation_page_at(relid, fork, DatumGetInt64(blkno),
							DatumGetLSN(lsn), nargs > 2 ? args[2] : NULL);
}

/*
 * walredo_page_at(text, text, text)
 * walredo_page_at(text, text, text, text)
 * walredo_page_at(text, text, text, text, text)
 *
 * Any of the functions above, for calls whose arguments have no types: quoted
 * literals, NULL, and parameters.  The second argument tells which, as an LSN
 * has a slash, and neither a fork nor a number has one.
 */
static Datum
walredo_page_at_literals_work(PG_FUNCTION_ARGS)
{
	int			nargs = PG_NARGS();
	char	   *args[5] = {NULL};
	WalredoGivenBase base = {NULL, InvalidXLogRecPtr};
	bytea	   *page;
	WalredoTag	tag;
	Datum		lsn;

	walredo_check_may_read_wal();
	for (int i = 0; i < nargs; i++)
		args[i] = walredo_getarg_cstring(fcinfo, i);
	if (args[0] == NULL || args[1] == NULL)
		PG_RETURN_NULL();

	if (strchr(args[1], '/') == NULL)
	{
		Datum		relid = DirectFunctionCall1(regclassin,
												CStringGetDatum(args[0]));

		page = relation_page_at_literals(DatumGetObjectId(relid), args + 1,
										 nargs - 1);
		if (page == NULL)
			PG_RETURN_NULL();
		PG_RETURN_BYTEA_P(page);
	}

	tag = *walredo_tag_from_cstring(args[0]);
	lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[1]));
	if (args[2] != NULL)
		base.image =
			DatumGetByteaP(DirectFunctionCall1(byteain,
											   CStringGetDatum(args[2])));
	if (args[4] != NULL)
		base.lsn =
			DatumGetLSN(DirectFunctionCall1(pg_lsn_in,
											CStringGetDatum(args[4])));
	PG_RETURN_BYTEA_P(page_at(InvalidOid, &tag, DatumGetLSN(lsn), &base,
							  args[3]));
}

/*
 * walredo_page_at(regclass, text, text, text)
 *
 * The same for calls of which only the relation has a type.
 */
static Datum
walredo_page_at_relation_literals_work(PG_FUNCTION_ARGS)
{
	char	   *args[3];
	bytea	   *page;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	for (int i = 0; i < lengthof(args); i++)
		args[i] = walredo_getarg_cstring(fcinfo, i + 1);
	page = relation_page_at_literals(PG_GETARG_OID(0), args, lengthof(args));
	if (page == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(page);
}

/* What functions that return all pages of some forks keep from row to row. */
typedef struct PagesScan
{
	WalredoRebuild *rebuild;
	WalredoBases *bases;
	WalredoCurrent *current;	/* for the server's own pages, or NULL */
	WalredoSlice slice;			/* whose pages are returned */
	WalredoTag *forks;
	Oid		   *relids;			/* of which relation each of them is, or NULL */
	int			nforks;
	int			fork;			/* whose pages are returned now; -1 before the
								 * first */
	uint64		fork_blocks;	/* of that fork, for the progress view */

	/*
	 * The next block of the fork to return, and the next page of it that the
	 * rebuild knows, if there is one.
	 */
	uint64		next_block;
	bool		has_known;
	WalredoTag	known_tag;
	WalredoRebuiltPage known;
} PagesScan;

/* Adds a fork of a relation.  ERROR if WAL does not have it. */
static void
add_fork(PagesScan *scan, Oid relid, const char *name)
{
	scan->relids[scan->nforks] = relid;
	walredo_tag_of_relation(relid, name, 0, &scan->forks[scan->nforks]);
	check_is_logged_relation(relid, scan->forks[scan->nforks].forknum);
	scan->nforks++;
}

/* Adds all forks of a relation that are logged. */
static void
add_logged_forks(PagesScan *scan, Oid relid)
{
	bool		is_unlogged =
		get_rel_persistence(relid) == RELPERSISTENCE_UNLOGGED;

	for (int i = 0; i < WALREDO_NUM_LOGGED_FORKS; i++)
	{
		ForkNumber	forknum = walredo_logged_forks[i];

		if (forknum == INIT_FORKNUM || !is_unlogged)
			add_fork(scan, relid, forkNames[forknum]);
	}
}

/*
 * Reads WAL up to lsn for the forks of a scan, or if these are NULL, for those
 * that WAL names, which become the forks of the scan.  Returns where the last
 * record ended.
 */
static XLogRecPtr
read_wal_of_pages(PagesScan *scan, XLogRecPtr lsn, const char *directory)
{
	WalredoPageFilter *filter;
	WalredoPageScan *wal;
	XLogRecPtr	end_lsn;

	if (scan->relids != NULL)
		walredo_progress_begin_phase(WALREDO_PHASE_READING_WAL,
									 scan->nforks == 1 ?
									 scan->relids[0] : InvalidOid,
									 scan->forks[0].forknum, 0);
	scan->fork = -1;
	scan->bases = walredo_bases_open();
	scan->rebuild = walredo_rebuild_create();
	walredo_rebuild_set_slice(scan->rebuild, &scan->slice);
	filter = scan->forks == NULL ? walredo_filter_relations() :
		walredo_filter_forks(scan->forks, scan->nforks, false);
	walredo_filter_set_slice(filter, &scan->slice);
	wal = walredo_page_scan_from(filter, directory, scan->bases, lsn);
	walredo_rebuild_set_backup(scan->rebuild, scan->bases->backup,
							   scan->bases->lsn);
	while (walredo_page_scan_add_some(wal, scan->rebuild))
		CHECK_FOR_INTERRUPTS();
	end_lsn = walredo_reader_end_lsn(wal->reader);
	if (scan->forks == NULL)
		scan->forks = walredo_changes_forks(wal->changes, &scan->nforks);
	if (scan->relids != NULL)
		check_files_are_older(scan->relids, scan->forks, scan->nforks,
							  directory, end_lsn);
	scan->current = walredo_current_begin(scan->forks, scan->nforks, false,
										  directory, wal->reader, end_lsn);
	if (scan->current != NULL)
		walredo_current_set_slice(scan->current, &scan->slice);
	walredo_page_scan_end(wal);
	walredo_filter_free(filter);
	return end_lsn;
}

/*
 * Begins to return pages of some relations: of the fork given, or of all that
 * are logged if it is NULL.  Only pages of a slice are returned.  Reads WAL up
 * to lsn, of which all of them are made.
 */
static PagesScan *
begin_pages_scan(List *relations, const char *fork, XLogRecPtr lsn,
				 const char *directory, const WalredoSlice *slice)
{
	PagesScan  *scan = palloc0(sizeof(PagesScan));
	int			max_forks = Max(list_length(relations), 1) *
		WALREDO_NUM_LOGGED_FORKS;
	ListCell   *lc;

	scan->slice = *slice;
	scan->forks = palloc(max_forks * sizeof(WalredoTag));
	scan->relids = palloc(max_forks * sizeof(Oid));
	foreach(lc, relations)
	{
		if (fork != NULL)
			add_fork(scan, lfirst_oid(lc), fork);
		else
			add_logged_forks(scan, lfirst_oid(lc));
	}
	read_wal_of_pages(scan, lsn, directory);
	return scan;
}

/* ERROR if a file, of which WAL has been read up to lsn, was removed. */
static void
check_file_is_there(PagesScan *scan, const WalredoTag *tag, XLogRecPtr lsn)
{
	WalredoTag	last = *tag;
	WalredoRebuiltPage page;

	/* The end of a file is that of every block. */
	last.number = MaxBlockNumber;
	walredo_rebuild_get(scan->rebuild, &last, &page);
	if (page.num_records == 0 && page.end == WALREDO_FILE_REMOVED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("file \"%s\" does not exist at %X/%X",
						walredo_relation_path(walredo_tag_locator(tag),
											  tag->forknum),
						LSN_FORMAT_ARGS(lsn)),
				 errdetail("The file was removed at %X/%X.",
						   LSN_FORMAT_ARGS(page.end_lsn)),
				 errhint("Specify an LSN before that.")));
}

/* qsort() comparator: orders tags. */
static int
compare_tags(const void *a, const void *b)
{
	return walredo_tag_compare(a, b);
}

/*
 * The same for the forks that some tags are of, whether the relations exist or
 * not, and in whatever database; or, if tags is NULL, for all that WAL names.
 * A fork can be named by several tags.
 */
static PagesScan *
begin_file_scan(const WalredoTag *tags, int ntags, XLogRecPtr lsn,
				const char *directory, const WalredoSlice *slice)
{
	PagesScan  *scan = palloc0(sizeof(PagesScan));
	XLogRecPtr	end_lsn;

	scan->slice = *slice;
	if (tags == NULL)
	{
		(void) read_wal_of_pages(scan, lsn, directory);
		return scan;
	}

	scan->forks = palloc(Max(ntags, 1) * sizeof(WalredoTag));
	for (int i = 0; i < ntags; i++)
	{
		if (tags[i].kind != WALREDO_TAG_REL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot rebuild all pages of the file of %s",
							walredo_tag_to_cstring(&tags[i])),
					 errdetail("This is possible for files of relations only."),
					 errhint("Use walredo_page_at() for one page of it.")));
		check_is_logged(tags[i].forknum);
		scan->forks[i] = tags[i];
		scan->forks[i].number = 0;
	}
	if (ntags > 0)
	{
		walredo_progress_set_target(InvalidOid, &scan->forks[0]);
		qsort(scan->forks, ntags, sizeof(WalredoTag), compare_tags);
		scan->nforks = qunique(scan->forks, ntags, sizeof(WalredoTag),
							   compare_tags);
	}
	end_lsn = read_wal_of_pages(scan, lsn, directory);
	if (lsn == WALREDO_END_OF_WAL)
		lsn = end_lsn;
	for (int i = 0; i < scan->nforks; i++)
		check_file_is_there(scan, &scan->forks[i], lsn);
	return scan;
}

/* Asks the rebuild for the next page of the fork that it knows. */
static void
advance_known(PagesScan *scan)
{
	scan->has_known = walredo_rebuild_next(scan->rebuild, &scan->known_tag,
										   &scan->known);
}

/* Shows that the pages of the fork are going to be returned. */
static void
show_fork(PagesScan *scan)
{
	uint64		nblocks = walredo_rebuild_fork_blocks(scan->rebuild);

	if (scan->current != NULL)
		nblocks = Max(nblocks,
					  walredo_current_blocks(scan->current, scan->fork));
	scan->fork_blocks = nblocks;
	walredo_progress_begin_phase(WALREDO_PHASE_RETURNING_PAGES,
								 scan->relids != NULL ?
								 scan->relids[scan->fork] : InvalidOid,
								 scan->forks[scan->fork].forknum, nblocks);
}

/*
 * Returns the page of the next block of the fork, or NULL if it is not known.
 */
static bytea *
page_of_next_block(PagesScan *scan)
{
	WalredoTag	tag = scan->forks[scan->fork];
	WalredoRebuiltPage page;

	tag.number = scan->next_block++;
	if (scan->has_known && scan->known_tag.number == tag.number &&
		!scan->known.is_waiting)
		page = scan->known;
	else
	{
		/*
		 * This tells how a block of which there is no record has ended. And
		 * if a child has failed at this page, or at another, it says why.
		 */
		walredo_rebuild_get(scan->rebuild, &tag, &page);
	}
	if (page.image == NULL && may_be_current(scan->bases, &page))
		page.image = current_page(scan->current, scan->fork, &tag, &page);
	return page.image;
}

/*
 * Moves to the next page that is known, and returns its image.  NULL if there
 * are no more.  Blocks that cannot be made are left out.
 */
static bytea *
next_page(PagesScan *scan, WalredoTag *tag)
{
	for (;;)
	{
		uint64		nblocks = 0;
		bytea	   *image;

		CHECK_FOR_INTERRUPTS();
		if (scan->fork >= 0)
		{
			if (scan->has_known && scan->known_tag.number < scan->next_block)
				advance_known(scan);
			if (scan->current != NULL)
				nblocks = walredo_current_blocks(scan->current, scan->fork);
			if (scan->has_known && scan->next_block >= nblocks)
				scan->next_block = scan->known_tag.number;
			if (scan->has_known || scan->next_block < nblocks)
			{
				*tag = scan->forks[scan->fork];
				tag->number = scan->next_block;
				if (tag->number % BLOCKS_BETWEEN_SHOWS == 0)
					walredo_progress_set_blocks(tag->number,
												scan->fork_blocks);
				if (!walredo_slice_has(&scan->slice, tag))
				{
					scan->next_block++;
					continue;
				}
				image = page_of_next_block(scan);
				if (image != NULL)
					return image;
				continue;
			}
		}
		if (++scan->fork == scan->nforks)
			return NULL;
		walredo_rebuild_begin_fork(scan->rebuild, &scan->forks[scan->fork]);
		show_fork(scan);
		scan->next_block = 0;
		advance_known(scan);
	}
}

/*
 * Called when the query ends, which may be before all rows have been returned.
 * The rebuild has a temporary file and a stream, which do not end with memory.
 */
static void
end_pages_scan(Datum arg)
{
	PagesScan  *scan = (PagesScan *) DatumGetPointer(arg);

	walredo_rebuild_free(scan->rebuild);
}

/* The columns of a function that returns pages of several files. */
enum
{
	PAGES_RELATION,
	PAGES_FORK,
	PAGES_BLKNO,
	PAGES_PAGE,
	PAGES_TAG,
	PAGES_NCOLUMNS
};

/*
 * Begins the scan that the arguments of a function specify; or returns NULL if
 * an argument is null that must not be, so that the function returns no rows.
 */
typedef PagesScan *(*BeginScan) (FunctionCallInfo fcinfo);

/*
 * What a function does that returns pages of several files: with all columns,
 * or with the block number and the page only.
 *
 * Rows are returned one by one, and not in a tuplestore, so that the pages are
 * not copied to a file once more.
 */
static Datum
return_pages(FunctionCallInfo fcinfo, BeginScan begin)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	PagesScan  *scan;
	bytea	   *image;
	WalredoTag	tag;
	Datum		values[PAGES_NCOLUMNS];
	bool		nulls[PAGES_NCOLUMNS] = {0};
	int			first;
	HeapTuple	tuple;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_context;
		TupleDesc	tupdesc;

		walredo_check_may_read_wal();
		funcctx = SRF_FIRSTCALL_INIT();
		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		scan = begin(fcinfo);
		MemoryContextSwitchTo(old_context);
		if (scan == NULL)
			SRF_RETURN_DONE(funcctx);
		funcctx->user_fctx = scan;
		RegisterExprContextCallback(rsinfo->econtext, end_pages_scan,
									PointerGetDatum(scan));
	}

	funcctx = SRF_PERCALL_SETUP();
	scan = funcctx->user_fctx;
	image = next_page(scan, &tag);
	if (image == NULL)
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_pages_scan,
									  PointerGetDatum(scan));
		walredo_rebuild_free(scan->rebuild);
		SRF_RETURN_DONE(funcctx);
	}

	if (scan->relids != NULL)
		values[PAGES_RELATION] = ObjectIdGetDatum(scan->relids[scan->fork]);
	else
		nulls[PAGES_RELATION] = true;
	values[PAGES_FORK] = CStringGetTextDatum(forkNames[tag.forknum]);
	values[PAGES_BLKNO] = Int64GetDatum((int64) tag.number);
	values[PAGES_PAGE] = PointerGetDatum(image);
	values[PAGES_TAG] = PointerGetDatum(&tag);
	first = funcctx->tuple_desc->natts < PAGES_NCOLUMNS ? PAGES_BLKNO : 0;
	tuple = heap_form_tuple(funcctx->tuple_desc, values + first, nulls + first);

	/* The tuple has a copy of it. */
	if (scan->has_known && scan->known_tag.number == tag.number)
		walredo_rebuild_forget(scan->rebuild);
	SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(tuple));
}

/*
 * The slice that two arguments, from argno on, specify: a slice, counted from
 * 0, as a partition's remainder is, and the number of slices; or all pages if
 * both are null.
 */
static WalredoSlice
getarg_slice(FunctionCallInfo fcinfo, int argno)
{
	WalredoSlice slice = {0};
	int32		number;
	int32		count;

	if (PG_ARGISNULL(argno) && PG_ARGISNULL(argno + 1))
		return slice;
	if (PG_ARGISNULL(argno) || PG_ARGISNULL(argno + 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a slice needs both its number and the number of slices"),
				 errdetail("Argument \"%s\" is null, and argument \"%s\" is not.",
						   PG_ARGISNULL(argno) ? "slice" : "slices",
						   PG_ARGISNULL(argno) ? "slices" : "slice"),
				 errhint("Specify both, or none of them for all pages.")));
	number = PG_GETARG_INT32(argno);
	count = PG_GETARG_INT32(argno + 1);
	if (count < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of slices must be greater than zero"),
				 errdetail("Argument \"%s\" is %d.", "slices", count),
				 errhint("Specify as many slices as there are servers.")));
	if (number < 0 || number >= count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("slice must be less than the number of slices, and not negative"),
				 errdetail("Argument \"%s\" is %d, and argument \"%s\" is %d.",
						   "slice", number, "slices", count),
				 errhint("Slices are counted from 0.")));
	slice.number = number;
	slice.count = count;
	return slice;
}

/*
 * An argument that is an array of tags, palloc'd.  ERROR 22004 if one of them
 * is null.
 */
static WalredoTag *
getarg_tags(FunctionCallInfo fcinfo, int argno, int *ntags)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argno);
	Datum	   *elements;
	bool	   *nulls;
	WalredoTag *tags;

	deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(WalredoTag), false,
					  TYPALIGN_DOUBLE, &elements, &nulls, ntags);
	tags = palloc(Max(*ntags, 1) * sizeof(WalredoTag));
	for (int i = 0; i < *ntags; i++)
	{
		if (nulls[i])
			walredo_report_null_element("tags");
		tags[i] = *DatumGetWalredoTagP(elements[i]);
	}
	return tags;
}

static PagesScan *
begin_read_pages(FunctionCallInfo fcinfo)
{
	WalredoSlice slice = getarg_slice(fcinfo, 4);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		return NULL;
	return begin_pages_scan(walredo_getarg_relations(fcinfo, 0),
							walredo_getarg_cstring(fcinfo, 1),
							PG_GETARG_LSN(2),
							walredo_getarg_cstring(fcinfo, 3), &slice);
}

/*
 * _walredo_read_pages(relations, fork, lsn, wal_directory, slice, slices)
 *
 * Returns one row per block that WAL can make, fork by fork, in block order.
 * walredo_pages_at() and walredo_pages_at_all() are written in SQL on top of
 * this function and the following ones.
 */
static Datum
walredo_read_pages_work(PG_FUNCTION_ARGS)
{
	return return_pages(fcinfo, begin_read_pages);
}

static PagesScan *
begin_read_file_pages(FunctionCallInfo fcinfo)
{
	const WalredoSlice all = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return NULL;
	return begin_file_scan(PG_GETARG_WALREDO_TAG_P(0), 1, PG_GETARG_LSN(1),
						   walredo_getarg_cstring(fcinfo, 2), &all);
}

/*
 * _walredo_read_file_pages(tag, lsn, wal_directory)
 *
 * The same for the file that a tag is of.
 */
static Datum
walredo_read_file_pages_work(PG_FUNCTION_ARGS)
{
	return return_pages(fcinfo, begin_read_file_pages);
}

static PagesScan *
begin_read_pages_of_files(FunctionCallInfo fcinfo)
{
	WalredoSlice slice = getarg_slice(fcinfo, 3);
	WalredoTag *tags = NULL;
	int			ntags = 0;

	if (PG_ARGISNULL(1))
		return NULL;
	if (!PG_ARGISNULL(0))
		tags = getarg_tags(fcinfo, 0, &ntags);
	return begin_file_scan(tags, ntags, PG_GETARG_LSN(1),
						   walredo_getarg_cstring(fcinfo, 2), &slice);
}

/*
 * _walredo_read_pages_of_files(tags, lsn, wal_directory, slice, slices)
 *
 * The same for the files that some tags are of, or if tags is null, for those
 * that WAL names.
 */
static Datum
walredo_read_pages_of_files_work(PG_FUNCTION_ARGS)
{
	return return_pages(fcinfo, begin_read_pages_of_files);
}

/*
 * Begins the scan that is meant by arguments that have no types: a tag, an LSN,
 * and a directory, which may be null; or a relation, a fork, and an LSN.
 */
static PagesScan *
begin_read_pages_literals(FunctionCallInfo fcinfo)
{
	const WalredoSlice all = {0};
	char	   *args[3];
	Datum		lsn;
	Datum		relid;

	for (int i = 0; i < lengthof(args); i++)
		args[i] = walredo_getarg_cstring(fcinfo, i);
	if (args[0] == NULL || args[1] == NULL)
		return NULL;
	if (strchr(args[1], '/') != NULL)
	{
		lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[1]));
		return begin_file_scan(walredo_tag_from_cstring(args[0]), 1,
							   DatumGetLSN(lsn), args[2], &all);
	}
	if (args[2] == NULL)
		return NULL;
	lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[2]));
	relid = DirectFunctionCall1(regclassin, CStringGetDatum(args[0]));
	return begin_pages_scan(list_make1_oid(DatumGetObjectId(relid)), args[1],
							DatumGetLSN(lsn), NULL, &all);
}

/*
 * _walredo_read_pages_literals(text, text, text)
 */
static Datum
walredo_read_pages_literals_work(PG_FUNCTION_ARGS)
{
	return return_pages(fcinfo, begin_read_pages_literals);
}

/*
 * Is this the text form of a tag, rather than the name of a relation?  A tag
 * begins with a word, a blank, and the first character of what follows.  A name
 * can have blanks only within quotes, at its ends, and around a period.
 */
static bool
looks_like_tag(const char *str)
{
	const char *p = str + strspn(str, " \t\n\r\f\v");
	int			word = strspn(p, "abcdefghijklmnopqrstuvwxyz");
	int			blanks = strspn(p + word, " \t\n\r\f\v");

	p += word + blanks;
	return word > 0 && blanks > 0 && *p != '\0' && *p != '.';
}

/*
 * Begins the scan that is meant by the text form of an array: of tags if its
 * first element is one, else of relations.
 */
static PagesScan *
begin_scan_of_array(char *literal, XLogRecPtr lsn, const char *directory,
					const WalredoSlice *slice)
{
	Oid			input;
	Oid			element_type;
	Datum		array;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	bool		are_tags = false;
	WalredoTag *tags;
	List	   *relids = NIL;

	getTypeInputInfo(TEXTARRAYOID, &input, &element_type);
	array = OidInputFunctionCall(input, literal, element_type, -1);
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);
	if (n > 0 && !nulls[0])
		are_tags = looks_like_tag(TextDatumGetCString(elements[0]));
	tags = palloc(Max(n, 1) * sizeof(WalredoTag));
	for (int i = 0; i < n; i++)
	{
		char	   *element;

		if (nulls[i])
			walredo_report_null_element(are_tags ? "tags" : "relations");
		element = TextDatumGetCString(elements[i]);
		if (are_tags)
			tags[i] = *walredo_tag_from_cstring(element);
		else
		{
			Datum		relid = DirectFunctionCall1(regclassin,
													CStringGetDatum(element));

			relids = lappend_oid(relids, DatumGetObjectId(relid));
		}
	}
	if (are_tags)
		return begin_file_scan(tags, n, lsn, directory, slice);
	list_sort(relids, list_oid_cmp);
	list_deduplicate_oid(relids);
	return begin_pages_scan(relids, NULL, lsn, directory, slice);
}

static PagesScan *
begin_read_pages_of_literals(FunctionCallInfo fcinfo)
{
	WalredoSlice slice;

	if (PG_ARGISNULL(0))
		return begin_read_pages_of_files(fcinfo);
	slice = getarg_slice(fcinfo, 3);
	if (PG_ARGISNULL(1))
		return NULL;
	return begin_scan_of_array(walredo_getarg_cstring(fcinfo, 0),
							   PG_GETARG_LSN(1),
							   walredo_getarg_cstring(fcinfo, 2), &slice);
}

/*
 * _walredo_read_pages_of_literals(text, lsn, wal_directory, slice, slices)
 *
 * For calls whose first argument has no type: an array of relations, or of
 * tags, or null, which stands for tags.
 */
static Datum
walredo_read_pages_of_literals_work(PG_FUNCTION_ARGS)
{
	return return_pages(fcinfo, begin_read_pages_of_literals);
}

/*
 * walredo_page_diff(a bytea, b bytea)
 *
 * Returns one row per run of bytes that differ.  Arguments that are not as long
 * as a page are refused before they are read, so that the number of rows is
 * bounded: no more than half the bytes of a page.
 */
Datum
walredo_page_diff(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *a;
	const char *b;
	Size		start;
	Size		end = 0;

	walredo_check_page_length(fcinfo, 0, "a");
	walredo_check_page_length(fcinfo, 1, "b");
	a = VARDATA_ANY(PG_GETARG_BYTEA_PP(0));
	b = VARDATA_ANY(PG_GETARG_BYTEA_PP(1));

	InitMaterializedSRF(fcinfo, 0);
	while (walredo_next_difference(a, b, BLCKSZ, &start, &end))
	{
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = Int32GetDatum((int32) start);
		values[1] = Int32GetDatum((int32) (end - start));
		values[2] = PointerGetDatum(cstring_to_text_with_len(a + start,
															 end - start));
		values[3] = PointerGetDatum(cstring_to_text_with_len(b + start,
															 end - start));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
