/*-------------------------------------------------------------------------
 *
 * changes_end.c
 *	  Pages that a WAL record ends together with their file.
 *
 * A record that truncates, removes or replaces a file ends the pages in it,
 * although it names none of them.  The functions at the end of this file mirror
 * redo routines of the server, which their comments name, as far as these do
 * that.  The functions before them find out which pages of the filter a change
 * of files ends.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/changes_end.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/multixact.h"
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "catalog/storage_xlog.h"
#include "commands/dbcommands_xlog.h"
#include "commands/tablespace.h"
#include "compat.h"
#include "record/slru.h"
#include "record/visibilitymap.h"
#include "wal/changes_internal.h"

/*
 * Is a page of an SLRU in a segment that is removed when the SLRU is truncated?
 *
 * This mirrors SimpleLruTruncate() in src/backend/access/transam/slru.c: a
 * segment is removed if its first and its last page precede the cutoff.  Pages
 * are compared by the numbers of their entries, which have 32 bits and wrap
 * around.
 *
 * The members of multixacts that exist can be more than half of all numbers
 * that members can have, so they cannot be compared in this way.  Where the
 * numbers have 32 bits, the segments from one to another are removed, as in
 * PerformMembersTruncation() in multixact.c.  Where they have more bits, they
 * do not wrap around.
 */
static bool
slru_segment_precedes(const WalredoTag *tag, const FileChange *file)
{
	uint64		cutoff = file->tag.number;
	uint64		segment = tag->number / SLRU_PAGES_PER_SEGMENT;
	uint64		first = segment * SLRU_PAGES_PER_SEGMENT;
	uint64		last = first + SLRU_PAGES_PER_SEGMENT - 1;
	uint64		per_page = 1;

	switch ((WalredoTagKind) tag->kind)
	{
		case WALREDO_TAG_CLOG:
			per_page = WALREDO_CLOG_XACTS_PER_PAGE;
			break;
		case WALREDO_TAG_COMMIT_TS:
			per_page = WALREDO_COMMIT_TS_XACTS_PER_PAGE;
			break;
		case WALREDO_TAG_MULTIXACT_OFFSETS:
			per_page = WALREDO_MXACT_OFFSETS_PER_PAGE;
			break;
		case WALREDO_TAG_MULTIXACT_MEMBERS:
			if (sizeof(MultiXactOffset) > sizeof(uint32))
				return last < cutoff;
			else
			{
				uint64		from = file->first_page / SLRU_PAGES_PER_SEGMENT;
				uint64		to = cutoff / SLRU_PAGES_PER_SEGMENT;
				uint64		total =
					walredo_mxact_member_page(PG_UINT32_MAX) /
					SLRU_PAGES_PER_SEGMENT + 1;

				return (segment + total - from) % total <
					(to + total - from) % total;
			}
		default:
			return false;
	}
	return (int32) ((uint32) ((first - cutoff) * per_page)) < 0 &&
		(int32) ((uint32) ((last - cutoff) * per_page)) < 0;
}

/*
 * Returns the number of the first page in the tag's fork that a change of files
 * ends.  If the tag is no block of a relation, returns its number if that page
 * ends.  Returns PG_UINT64_MAX if no page ends.
 */
static uint64
first_ended(const FileChange *file,
			const WalredoTag *tag)
{
	bool		applies = false;

	/* The relation map of a database is one of its files. */
	if (file->tag.kind != tag->kind &&
		!(tag->kind == WALREDO_TAG_RELMAP &&
		  (file->scope == SCOPE_DATABASE ||
		   file->scope == SCOPE_TABLESPACE)))
		return PG_UINT64_MAX;

	switch (file->scope)
	{
		case SCOPE_OBJECT:
			applies = file->tag.number == tag->number;
			break;
		case SCOPE_FORK:
			if (walredo_tag_same_fork(&file->tag, tag))
				return file->tag.number;
			break;
		case SCOPE_RELATION:
			applies = file->tag.relNumber == tag->relNumber &&
				file->tag.dbOid == tag->dbOid &&
				file->tag.spcOid == tag->spcOid;
			break;
		case SCOPE_DATABASE:
			applies = file->tag.dbOid == tag->dbOid &&
				file->tag.spcOid == tag->spcOid;
			break;
		case SCOPE_TABLESPACE:
			applies = file->tag.spcOid == tag->spcOid;
			break;
		case SCOPE_SLRU:
			applies = slru_segment_precedes(tag, file);
			break;
		case SCOPE_KIND:
			applies = true;
			break;
	}
	if (!applies)
		return PG_UINT64_MAX;
	return tag->kind == WALREDO_TAG_REL ? 0 : tag->number;
}

/* Adds the end of a fork of the filter, if a change of files ends it. */
static void
add_end_of_fork(WalredoChanges *changes, const FileChange *file,
				const WalredoTag *fork)
{
	WalredoTag	tag = *fork;

	tag.number = first_ended(file, fork);
	if (tag.number != PG_UINT64_MAX)
		walredo_add_end(changes, &tag, file->end,
						file->scope == SCOPE_FORK);
}

/* Adds a change of files of relations to the list of them. */
static void
add_file_change(WalredoChanges *changes, const FileChange *file)
{
	if (file->tag.kind != WALREDO_TAG_REL)
		return;
	if ((file->scope == SCOPE_FORK || file->scope == SCOPE_RELATION) &&
		!walredo_tag_is_valid(&file->tag))
		walredo_changes_broken(changes, "The record refers to an invalid page address.");
	if (changes->num_files == changes->max_files)
	{
		changes->max_files = Max(8, changes->max_files * 2);
		changes->files = changes->files == NULL ?
			palloc(changes->max_files * sizeof(FileChange)) :
			repalloc_huge(changes->files,
						  changes->max_files * sizeof(FileChange));
	}
	changes->files[changes->num_files++] = *file;
}

/*
 * Adds the ends of whatever forks of relations a change of files ends.  The
 * free space map is not among them.
 */
static void
add_end_of_relations(WalredoChanges *changes, const FileChange *file)
{
	RelFileLocator locator = walredo_tag_locator(&file->tag);
	bool		of_fork_only = file->scope == SCOPE_FORK;

	if (file->tag.kind != WALREDO_TAG_REL)
		return;
	if (file->scope != SCOPE_FORK && file->scope != SCOPE_RELATION)
	{
		walredo_add_end_of_kind(changes, &file->tag, file->end);
		return;
	}
	for (int forknum = 0; forknum <= MAX_FORKNUM; forknum++)
	{
		WalredoTag	tag = file->tag;

		if (forknum == FSM_FORKNUM ||
			(of_fork_only && forknum != file->tag.forknum))
			continue;
		tag.forknum = forknum;
		walredo_changes_note_fork(changes, &locator, forknum);
		walredo_add_end(changes, &tag, file->end, of_fork_only);
	}
}

/* Adds what an index has to know of a change of files. */
static void
add_end_for_index(WalredoChanges *changes, const FileChange *file)
{
	if (file->scope == SCOPE_OBJECT || file->scope == SCOPE_FORK ||
		file->scope == SCOPE_RELATION)
		walredo_add_end(changes, &file->tag, file->end,
						file->scope == SCOPE_FORK);
	else
		walredo_add_end_of_kind(changes, &file->tag, file->end);
}

/* Adds the ends of those pages of the filter that a change of files ends. */
static void
add_ends(WalredoChanges *changes, const FileChange *file)
{
	const WalredoPageFilter *filter = changes->filter;
	WalredoPageChange *change;
	RelFileLocator locator;
	uint64		from;

	switch (filter->kind)
	{
		case WALREDO_FILTER_ALL:
			break;
		case WALREDO_FILTER_FILE_CHANGES:
			add_file_change(changes, file);
			break;
		case WALREDO_FILTER_INDEX:
			add_end_for_index(changes, file);
			break;
		case WALREDO_FILTER_RELATIONS:
			add_end_of_relations(changes, file);
			break;
		case WALREDO_FILTER_PAGE:
			from = first_ended(file, &filter->tag);
			if (from != PG_UINT64_MAX && from <= filter->tag.number)
				walredo_add_end(changes, &filter->tag, file->end,
								file->scope == SCOPE_FORK);
			break;
		case WALREDO_FILTER_FORK:
			add_end_of_fork(changes, file, &filter->tag);
			break;
		case WALREDO_FILTER_FORKS:
		case WALREDO_FILTER_FILES:

			/* Go through the forks only if the relation is one of them. */
			locator = walredo_tag_locator(&file->tag);
			if ((file->scope == SCOPE_FORK ||
				 file->scope == SCOPE_RELATION) &&
				walredo_changes_find_forks(changes, &locator) == 0)
				break;
			for (int i = 0; i < filter->nforks; i++)
				add_end_of_fork(changes, file, &filter->forks[i]);
			break;
		case WALREDO_FILTER_SLRUS:
			if (!walredo_changes_want(changes, &file->tag))
				break;
			change = walredo_add_end(changes, &file->tag, file->end, false);
			if (change != NULL)
				change->first_page = file->first_page;
			break;
	}
}

/*
 * An SLRU is either truncated, or all of it is removed.
 */
bool
walredo_change_ends(const WalredoPageChange *change, const WalredoTag *tag)
{
	FileChange	file = {
		change->end,
		change->end == WALREDO_TRUNCATED ? SCOPE_SLRU : SCOPE_KIND,
		change->tag,
		change->first_page
	};

	Assert(change->what == WALREDO_CHANGE_END && WalredoTagIsSlru(tag));
	return first_ended(&file, tag) != PG_UINT64_MAX;
}

/* As add_ends(), with the fields of the FileChange as arguments. */
static void
end_files(WalredoChanges *changes, WalredoPageEnd end, EndScope scope,
		  const WalredoTag *tag)
{
	FileChange	file = {end, scope, *tag, 0};

	add_ends(changes, &file);
}

/*
 * As smgr_redo() in src/backend/catalog/storage.c.
 *
 * A file is created with a number that no other file has, so earlier records
 * are about another file that had this number once.  The main fork is created
 * first, so its creation ends the pages of all forks.  Truncation of the free
 * space map is not handled, because its pages are not logged.
 */
void
walredo_ends_of_smgr(WalredoChanges *changes)
{
	xl_smgr_truncate truncate;
	Cursor		cursor = changes->main_data;
	WalredoTag	tag;

	if (walredo_changes_truncation(changes, &truncate))
	{
		BlockNumber map_blocks = walredo_vm_page(truncate.blkno);

		if (walredo_vm_byte(truncate.blkno) != 0 ||
			walredo_vm_bit(truncate.blkno) != 0)
			map_blocks++;
		if ((truncate.flags & SMGR_TRUNCATE_HEAP) != 0)
		{
			tag = walredo_tag_of_block(&SmgrTruncateLocator(truncate),
									   MAIN_FORKNUM, truncate.blkno);
			end_files(changes, WALREDO_TRUNCATED, SCOPE_FORK,
					  &tag);
		}
		if ((truncate.flags & SMGR_TRUNCATE_VM) != 0)
		{
			tag = walredo_tag_of_block(&SmgrTruncateLocator(truncate),
									   VISIBILITYMAP_FORKNUM, map_blocks);
			end_files(changes, WALREDO_TRUNCATED, SCOPE_FORK,
					  &tag);
		}
	}
	else if ((changes->record->xl_info & ~XLR_INFO_MASK) == XLOG_SMGR_CREATE)
	{
		xl_smgr_create create;

		take(changes, &cursor, &create, sizeof(create));
		if (create.forkNum < MAIN_FORKNUM || create.forkNum > MAX_FORKNUM)
			walredo_changes_broken(changes, "The record creates an invalid fork.");
		tag = walredo_tag_of_block(&SmgrCreateLocator(create), create.forkNum,
								   0);
		end_files(changes, WALREDO_FILE_CREATED,
				  create.forkNum == MAIN_FORKNUM ?
				  SCOPE_RELATION : SCOPE_FORK, &tag);
	}
}

/*
 * As dbase_redo() in src/backend/commands/dbcommands.c.
 */
void
walredo_ends_of_dbase(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	WalredoTag	tag = {.kind = WALREDO_TAG_REL};

	switch (changes->record->xl_info & ~XLR_INFO_MASK)
	{
		case XLOG_DBASE_CREATE_FILE_COPY:
			{
				xl_dbase_create_file_copy_rec xlrec;

				take(changes, &cursor, &xlrec, sizeof(xlrec));
				tag.spcOid = xlrec.tablespace_id;
				tag.dbOid = xlrec.db_id;
				end_files(changes, WALREDO_FILE_COPIED,
						  SCOPE_DATABASE, &tag);
				break;
			}
		case XLOG_DBASE_CREATE_WAL_LOG:
			{
				xl_dbase_create_wal_log_rec xlrec;

				take(changes, &cursor, &xlrec, sizeof(xlrec));
				tag.spcOid = xlrec.tablespace_id;
				tag.dbOid = xlrec.db_id;
				end_files(changes, WALREDO_FILE_CREATED,
						  SCOPE_DATABASE, &tag);
				break;
			}
		case XLOG_DBASE_DROP:
			{
				xl_dbase_drop_rec xlrec;
				int			n;

				take(changes, &cursor, &xlrec.db_id, sizeof(xlrec.db_id));
				tag.dbOid = xlrec.db_id;
				n = take_count(changes, &cursor, sizeof(Oid));
				for (int i = 0; i < n; i++)
				{
					take(changes, &cursor, &tag.spcOid, sizeof(Oid));
					end_files(changes, WALREDO_FILE_REMOVED,
							  SCOPE_DATABASE, &tag);
				}
				break;
			}
		default:
			break;
	}
}

/*
 * As tblspc_redo() in src/backend/commands/tablespace.c.  A tablespace must be
 * empty to be dropped, but what WAL knows of its files ends in any case.
 */
void
walredo_ends_of_tblspc(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	WalredoTag	tag = {.kind = WALREDO_TAG_REL};
	xl_tblspc_drop_rec xlrec;

	if ((changes->record->xl_info & ~XLR_INFO_MASK) != XLOG_TBLSPC_DROP)
		return;
	take(changes, &cursor, &xlrec, sizeof(xlrec));
	tag.spcOid = xlrec.ts_id;
	end_files(changes, WALREDO_FILE_REMOVED, SCOPE_TABLESPACE,
			  &tag);
}

/*
 * The files that the end of a transaction removes: those of relations that it
 * has dropped, or, if it aborts, has created; and the state of a prepared
 * transaction, which ends with it.
 *
 * As xact_redo() in src/backend/access/transam/xact.c.
 */
void
walredo_ends_of_xact(WalredoChanges *changes)
{
	XactEnd		end;
	WalredoTag	tag;

	if (!walredo_changes_xact_end(changes, &end))
		return;
	for (int i = 0; i < end.nrelations; i++)
	{
		RelFileLocator locator;

		memcpy(&locator, end.relations + i * sizeof(locator), sizeof(locator));
		tag = walredo_tag_of_block(&locator, MAIN_FORKNUM, 0);
		end_files(changes, WALREDO_FILE_REMOVED, SCOPE_RELATION, &tag);
	}
	if (end.has_prepared_xid)
	{
		tag = tag_of_number(WALREDO_TAG_TWOPHASE, end.prepared_xid);
		end_files(changes, WALREDO_FILE_REMOVED, SCOPE_OBJECT, &tag);
	}
}

/*
 * The truncation of an SLRU.  The record begins with the page that becomes the
 * first.
 */
static void
truncate_slru(WalredoChanges *changes, WalredoTagKind kind)
{
	Cursor		cursor = changes->main_data;
	WalredoTag	tag = take_slru_page(changes, &cursor, kind);

	end_files(changes, WALREDO_TRUNCATED, SCOPE_SLRU, &tag);
}

/* As clog_redo() in src/backend/access/transam/clog.c. */
void
walredo_ends_of_clog(WalredoChanges *changes)
{
	if ((changes->record->xl_info & ~XLR_INFO_MASK) == CLOG_TRUNCATE)
		truncate_slru(changes, WALREDO_TAG_CLOG);
}

/* As commit_ts_redo() in src/backend/access/transam/commit_ts.c. */
void
walredo_ends_of_commit_ts(WalredoChanges *changes)
{
	if ((changes->record->xl_info & ~XLR_INFO_MASK) == COMMIT_TS_TRUNCATE)
		truncate_slru(changes, WALREDO_TAG_COMMIT_TS);
}

/*
 * As multixact_redo() in src/backend/access/transam/multixact.c.  Offsets are
 * kept from the multixact before the oldest on: see PerformOffsetsTruncation().
 */
void
walredo_ends_of_multixact(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	xl_multixact_truncate xlrec;
	MultiXactId oldest;
	MultiXactOffset first;
	MultiXactOffset last;
	FileChange	members = {.end = WALREDO_TRUNCATED,.scope = SCOPE_SLRU};
	WalredoTag	tag;

	if ((changes->record->xl_info & ~XLR_INFO_MASK) !=
		XLOG_MULTIXACT_TRUNCATE_ID)
		return;
	take(changes, &cursor, &xlrec, SizeOfMultiXactTruncate);
	oldest = MultiXactTruncateOldest(xlrec);
	oldest = oldest > FirstMultiXactId ? oldest - 1 : MaxMultiXactId;
	tag = tag_of_number(WALREDO_TAG_MULTIXACT_OFFSETS,
						walredo_mxact_offset_page(oldest));
	end_files(changes, WALREDO_TRUNCATED, SCOPE_SLRU, &tag);

	first = MultiXactTruncateFirstOffset(xlrec);
	last = MultiXactTruncateOffset(xlrec);
	members.tag = tag_of_number(WALREDO_TAG_MULTIXACT_MEMBERS,
								walredo_mxact_member_page(last));
	members.first_page = walredo_mxact_member_page(first);
	add_ends(changes, &members);
}

/*
 * All files of pg_commit_ts go when commit timestamps are switched off.
 *
 * As xlog_redo() in src/backend/access/transam/xlog.c, which calls
 * CommitTsParameterChange().
 */
void
walredo_ends_of_xlog(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	char		xlrec[sizeof(xl_parameter_change)];
	WalredoTag	tag = tag_of_number(WALREDO_TAG_COMMIT_TS, 0);

	if ((changes->record->xl_info & ~XLR_INFO_MASK) != XLOG_PARAMETER_CHANGE)
		return;

	/* Not as a struct: a byte from elsewhere need not be a valid bool. */
	take(changes, &cursor, xlrec, sizeof(xlrec));
	if (xlrec[offsetof(xl_parameter_change, track_commit_timestamp)] == 0)
		end_files(changes, WALREDO_FILE_REMOVED, SCOPE_KIND,
				  &tag);
}
