/*-------------------------------------------------------------------------
 *
 * files.c
 *	  Which files came and went, according to WAL.
 *
 * changes_end.c knows what records do to files, and file_names.c which
 * relations the files belong to.  This file puts the two together.
 *
 * The name of a file that goes, or is truncated, is what WAL has said before.
 * When a file is created, its row of pg_class is yet to be written.  So an
 * event whose name is not known stays pending until the file goes, or WAL has
 * been read, and then gets the first name that came.
 *
 * The row of a relation that is dropped was often written long ago.  So if
 * names are missing in the end, all is done again, from where WAL begins, for
 * the names of these files only.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/files.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wal/changes_internal.h"
#include "wal/file_names.h"
#include "wal/files.h"
#include "wal/reader.h"

/* The number of records between two looks at how much memory is in use. */
#define RECORDS_BETWEEN_CHECKS	1024

/* An event whose transaction may not have ended yet. */
typedef struct FileEvent
{
	XLogRecPtr	lsn;
	FileChange	change;
	WalredoXact *xact;			/* NULL if there is none, or not known */
	char	   *name;			/* NULL if not known yet */
	bool		is_certain;		/* older WAL does not know better */
	bool		is_gone;		/* the file went later */
	int			first_row;		/* of the file, that came after the event */
	int			next_pending;	/* of the same file, or -1 */
} FileEvent;

/* A pass over WAL. */
typedef struct FilesPass
{
	MemoryContext context;		/* of everything */
	XLogRecPtr	start_lsn;		/* events from here on are wanted */
	WalredoFileNames *names;
	WalredoChanges *changes;
	FileEvent  *events;
	int			nevents;
	int			max_events;
} FilesPass;

static FilesPass *
begin_pass(XLogRecPtr start_lsn, bool of_server, HTAB *wanted)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo files",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	FilesPass  *pass = palloc0(sizeof(FilesPass));

	pass->context = context;
	pass->start_lsn = start_lsn;
	pass->names = walredo_file_names_create(of_server, wanted);
	pass->changes = walredo_changes_create(walredo_filter_file_changes());
	pass->max_events = 64;
	pass->events = palloc(pass->max_events * sizeof(FileEvent));
	MemoryContextSwitchTo(old_context);
	return pass;
}

static void
end_pass(FilesPass *pass)
{
	walredo_file_names_free(pass->names);
	MemoryContextDelete(pass->context);
}

/* Gives the pending events of a file their names, if there are any. */
static void
name_pending(FilesPass *pass, WalredoNamedFile *file, bool is_gone)
{
	while (file->pending >= 0)
	{
		FileEvent  *event = &pass->events[file->pending];
		WalredoXact *xact = event->xact;
		const char *name = walredo_file_names_first(file,
													event->first_row, &xact);

		/* A row that names a new file is written by who has made the file. */
		if (event->change.end == WALREDO_FILE_CREATED)
			event->xact = xact;
		if (name != NULL)
		{
			event->name = MemoryContextStrdup(pass->context, name);
			event->is_certain = true;
		}
		event->is_gone = is_gone;
		file->pending = event->next_pending;
	}
}

/* What was known of a file does not apply to what comes. */
static void
forget_file(FilesPass *pass, WalredoNamedFile *file)
{
	name_pending(pass, file, true);
	walredo_file_names_forget(pass->names, file);
}

/* The same for all files of a database in a tablespace, or of a tablespace. */
static void
forget_files(FilesPass *pass, const FileChange *change)
{
	WalredoFileSeq seq = {0};
	WalredoNamedFile *file;

	while ((file = walredo_file_names_next(pass->names, &seq)) != NULL)
	{
		if (LocatorSpcOid(file->locator) == change->tag.spcOid &&
			(change->scope == SCOPE_TABLESPACE ||
			 LocatorDbOid(file->locator) == change->tag.dbOid))
			forget_file(pass, file);
	}
}

static FileEvent *
add_event(FilesPass *pass, const FileChange *change, XLogRecPtr end_lsn,
		  WalredoXact *xact)
{
	FileEvent  *event;

	if (pass->nevents == pass->max_events)
	{
		if (pass->max_events > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many files have come and gone")));
		pass->max_events *= 2;
		pass->events = repalloc_huge(pass->events,
									 pass->max_events * sizeof(FileEvent));
	}
	event = &pass->events[pass->nevents++];
	memset(event, 0, sizeof(FileEvent));
	event->lsn = end_lsn;
	event->change = *change;
	event->xact = xact;
	event->next_pending = -1;
	return event;
}

/* Takes what a record does to a relation, or to one of its forks. */
static void
change_relation(FilesPass *pass, const FileChange *change, XLogRecPtr end_lsn,
				WalredoXact *xact, bool is_wanted)
{
	RelFileLocator locator = walredo_tag_locator(&change->tag);
	WalredoNamedFile *file = walredo_file_names_file(pass->names, &locator);

	if (is_wanted)
	{
		FileEvent  *event = add_event(pass, change, end_lsn, xact);
		const char *name;

		/*
		 * CREATE DATABASE copies pg_class before it makes the files of other
		 * relations.  As a rule, nothing is known of a new file yet.
		 */
		name = walredo_file_names_current(file, end_lsn, xact,
										  &event->is_certain);
		if (name != NULL)
			event->name = MemoryContextStrdup(pass->context, name);
		if (!event->is_certain)
		{
			event->first_row = file->nrows;
			event->next_pending = file->pending;
			file->pending = event - pass->events;
		}
	}
	/* Another file may get its number some day. */
	if (change->end == WALREDO_FILE_REMOVED)
		forget_file(pass, file);
}

/* Takes what a record says of files, and of who they are. */
static void
add_record(FilesPass *pass, WalredoReader *reader)
{
	const XLogRecord *record = walredo_reader_record(reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);
	bool		is_wanted = walredo_reader_start_lsn(reader) >= pass->start_lsn;
	TransactionId xid = record->xl_xid;
	WalredoPageChange *list;
	XactEnd		end;

	/*
	 * If this is the end of the transaction that changes files, ask for the
	 * transaction first, so that its end is kept.
	 */
	(void) walredo_changes_of(pass->changes, record, end_lsn, &list);
	if (pass->changes->num_files > 0)
	{
		if (walredo_record_xact_end(record, end_lsn, &end) && end.was_prepared)
			xid = end.prepared_xid;
		(void) walredo_file_names_xact(pass->names, xid);
	}
	walredo_file_names_add(pass->names, record, end_lsn);
	for (int i = 0; i < pass->changes->num_files; i++)
	{
		const FileChange *change = &pass->changes->files[i];
		WalredoXact *xact = walredo_file_names_xact(pass->names, xid);

		if (change->scope == SCOPE_FORK || change->scope == SCOPE_RELATION)
			change_relation(pass, change, end_lsn, xact, is_wanted);
		else
		{
			forget_files(pass, change);
			if (is_wanted)
				add_event(pass, change, end_lsn, xact)->is_certain = true;
		}
	}
}

/* Reads WAL up to end_lsn, or to where the reader's range ends. */
static void
run_pass(FilesPass *pass, WalredoReader *reader, XLogRecPtr end_lsn)
{
	WalredoFileSeq seq = {0};
	WalredoNamedFile *file;
	uint64		nrecords = 0;

	while (walredo_reader_next(reader) &&
		   walredo_reader_end_lsn(reader) <= end_lsn)
	{
		add_record(pass, reader);
		if (++nrecords % RECORDS_BETWEEN_CHECKS != 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (MemoryContextMemAllocated(pass->context, true) / 1024 >
			maintenance_work_mem)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("files that have come and gone up to %X/%X take more memory than maintenance_work_mem",
							LSN_FORMAT_ARGS(walredo_reader_end_lsn(reader))),
					 errhint("Specify a shorter range of WAL, or increase maintenance_work_mem.")));
	}
	while ((file = walredo_file_names_next(pass->names, &seq)) != NULL)
		name_pending(pass, file, false);
}

/*
 * The files whose names are not known for certain, as a hash table of
 * RelFileLocators, or NULL if all are.
 */
static HTAB *
find_unnamed(FilesPass *pass)
{
	HTAB	   *wanted = NULL;

	for (int i = 0; i < pass->nevents; i++)
	{
		RelFileLocator locator;

		if (pass->events[i].is_certain)
			continue;
		if (wanted == NULL)
		{
			HASHCTL		ctl = {0};

			ctl.keysize = ctl.entrysize = sizeof(RelFileLocator);
			ctl.hcxt = CurrentMemoryContext;
			wanted = hash_create("walredo files without names", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		locator = walredo_tag_locator(&pass->events[i].change.tag);
		(void) hash_search(wanted, &locator, HASH_ENTER, NULL);
	}
	return wanted;
}

/*
 * Looks in older WAL for the names that the events of a pass lack.  That there
 * is no such WAL, or that it is broken, is no error.
 */
static void
search_names(FilesPass *pass, const char *directory, bool of_server,
			 XLogRecPtr first_lsn, XLogRecPtr end_lsn)
{
	HTAB	   *wanted = find_unnamed(pass);
	WalredoReader *reader;

	if (wanted == NULL)
		return;
	reader = walredo_reader_begin_search(directory, WALREDO_START_OF_WAL);
	if (walredo_reader_first_lsn(reader) < first_lsn)
	{
		FilesPass  *search = begin_pass(first_lsn, of_server, wanted);

		/*
		 * WAL of the range is read again, too, as transactions may have begun
		 * before it.  So the events are the same, one by one, unless WAL was
		 * removed meanwhile, or is broken.
		 */
		run_pass(search, reader, end_lsn);
		for (int i = 0; i < Min(pass->nevents, search->nevents); i++)
		{
			FileEvent  *event = &pass->events[i];
			const FileEvent *other = &search->events[i];

			if (event->is_certain || other->name == NULL)
				continue;
			event->name = MemoryContextStrdup(pass->context, other->name);
			event->is_certain = other->is_certain;
		}
		end_pass(search);
	}
	walredo_reader_end(reader);
	hash_destroy(wanted);
}

/* What an event is about, in words. */
static const char *
relation_of_event(const FileEvent *event, bool of_server)
{
	const WalredoTag *tag = &event->change.tag;
	RelFileLocator locator = walredo_tag_locator(tag);
	bool		is_there = !event->is_gone &&
		event->change.end != WALREDO_FILE_REMOVED;
	char	   *name;

	if (event->change.scope == SCOPE_DATABASE)
		return psprintf("database %u in tablespace %u", tag->dbOid,
						tag->spcOid);
	if (event->change.scope == SCOPE_TABLESPACE)
		return psprintf("tablespace %u", tag->spcOid);
	if (event->name != NULL)
		return pstrdup(event->name);
	name = walredo_file_name_of_server(&locator, of_server && is_there);
	return name != NULL ? name : psprintf("%u", tag->relNumber);
}

static void
describe_event(const FileEvent *event, bool of_server,
			   WalredoFileEvent *result)
{
	const WalredoXact *xact = event->xact;

	memset(result, 0, sizeof(WalredoFileEvent));
	result->lsn = event->lsn;
	result->what = event->change.end;
	if (xact != NULL)
	{
		result->xid = xact->top_xid;
		result->has_time = xact->state != WALREDO_XACT_RUNNING &&
			IS_VALID_TIMESTAMP(xact->ended_at);
		result->at = xact->ended_at;
	}
	result->has_tag = event->change.scope == SCOPE_FORK ||
		event->change.scope == SCOPE_RELATION;
	result->tag = event->change.tag;
	result->relation = relation_of_event(event, of_server);
}

int
walredo_read_files(const char *directory, XLogRecPtr start_lsn,
				   XLogRecPtr end_lsn, WalredoFileEvent **events)
{
	WalredoReader *reader = walredo_reader_begin(directory, start_lsn, end_lsn);
	bool		of_server = walredo_reader_is_of_server(reader);
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	FilesPass  *pass = begin_pass(first_lsn, of_server, NULL);
	int			nevents;

	run_pass(pass, reader, PG_UINT64_MAX);
	end_lsn = walredo_reader_end_lsn(reader);
	walredo_reader_end(reader);
	search_names(pass, directory, of_server, first_lsn, end_lsn);

	nevents = pass->nevents;
	*events = MemoryContextAllocHuge(CurrentMemoryContext, Max(nevents, 1) *
									 sizeof(WalredoFileEvent));
	for (int i = 0; i < nevents; i++)
		describe_event(&pass->events[i], of_server, &(*events)[i]);
	end_pass(pass);
	return nevents;
}
