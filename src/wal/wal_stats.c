/*-------------------------------------------------------------------------
 *
 * wal_stats.c
 *	  What WAL consists of: numbers and sizes of records.
 *
 * A hash table has a counter for each group.  Relations, types of records and
 * minutes are few, but a range can have any number of transactions.  So those
 * that have ended are written to a temporary file, and forgotten, and the table
 * has only the ones that are running.  That also tells a transaction from a
 * later one that has the same ID.
 *
 * Sizes are those that the server's XLogRecGetLen() returns.  It takes decoded
 * records, and decoding copies a record, so it is not used here: the lengths of
 * images are in the headers.
 *
 * The names of relations are looked for in the order in which it is cheap:
 * first in the range itself, then in the server's catalogs, and only if there
 * are relations left, which have been dropped or are of another database, in
 * all WAL from its beginning on.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/wal_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "compat.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "record/record.h"
#include "record/xlogrecord.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wal/changes_internal.h"
#include "wal/file_names.h"
#include "wal/names.h"
#include "wal/reader.h"
#include "wal/wal_stats.h"

/* The number of records between two looks at how much memory is in use. */
#define RECORDS_BETWEEN_CHECKS	1024

/* The number of groups that are found without the hash table; a power of 2. */
#define CACHED_GROUPS	256

/*
 * What a group is of:
 *
 * - a relation: its tablespace and database, and the number of its file;
 * - a resource manager, and a type of records;
 * - a transaction ID;
 * - a minute, counted from the first one that a timestamp can be in, which is
 *   number 1.
 *
 * Except for resource managers, all zeroes are records that have none of it.
 */
typedef struct GroupKey
{
	uint64		high;
	uint64		low;
} GroupKey;

typedef struct StatsGroup
{
	GroupKey	key;			/* hash key */
	WalredoWalCounts counts;

	/* Of a relation. */
	bool		is_created;		/* its file was made in the range */
	bool		is_certain;		/* the name is */
	const char *name;			/* or NULL */

	/*
	 * Of a transaction: the top-level one, if this is known to be a
	 * subtransaction.  Then it has no counts, and is in the list of that one.
	 */
	struct StatsGroup *top;
	dlist_head	subxacts;
	dlist_node	node;
} StatsGroup;

/* A group that is complete, in the temporary file. */
typedef struct GroupRow
{
	GroupKey	key;
	WalredoWalCounts counts;
	TimestampTz at;
	const char *name;			/* in memory */
	bool		has_end;
	bool		is_committed;
} GroupRow;

struct WalredoWalStats
{
	MemoryContext context;		/* of everything */
	WalredoStatsBy by;
	WalredoReader *reader;
	HTAB	   *groups;
	StatsGroup *cache[CACHED_GROUPS];	/* by the last bits of key.low */
	WalredoWalCounts total;
	uint64		nrecords;

	BufFile    *file;			/* of GroupRows */
	uint64		nrows;			/* that are in it, and not yet returned */

	/* By relation. */
	WalredoFileNames *names;
	WalredoChanges *changes;
	bool		of_server;

	/* By minute: records whose time is not yet known. */
	WalredoWalCounts pending;
};

static void
check_memory(WalredoWalStats *stats, XLogRecPtr lsn)
{
	CHECK_FOR_INTERRUPTS();
	if (MemoryContextMemAllocated(stats->context, true) / 1024 >
		maintenance_work_mem)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("statistics of WAL up to %X/%X take more memory than maintenance_work_mem",
						LSN_FORMAT_ARGS(lsn)),
				 errhint("Specify a shorter range of WAL, or increase maintenance_work_mem.")));
}

/* ----------------------------------------
 * Groups
 * ----------------------------------------
 */

static void
add_counts(WalredoWalCounts *counts, const WalredoWalCounts *more)
{
	counts->records += more->records;
	counts->record_bytes += more->record_bytes;
	counts->image_bytes += more->image_bytes;
}

/* The group of a key, made if it was not there. */
static StatsGroup *
get_group(WalredoWalStats *stats, uint64 high, uint64 low)
{
	GroupKey	key = {high, low};
	StatsGroup **cached = &stats->cache[low % CACHED_GROUPS];
	StatsGroup *group = *cached;
	bool		found;

	if (group != NULL && group->key.low == low && group->key.high == high)
		return group;
	group = hash_search(stats->groups, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(group, 0, sizeof(StatsGroup));
		group->key = key;
		dlist_init(&group->subxacts);
		if (hash_get_num_entries(stats->groups) % RECORDS_BETWEEN_CHECKS == 0)
			check_memory(stats, walredo_reader_end_lsn(stats->reader));
	}
	*cached = group;
	return group;
}

static StatsGroup *
find_group(WalredoWalStats *stats, uint64 high, uint64 low)
{
	GroupKey	key = {high, low};

	return hash_search(stats->groups, &key, HASH_FIND, NULL);
}

static void
remove_group(WalredoWalStats *stats, StatsGroup *group)
{
	GroupKey	key = group->key;

	if (stats->cache[key.low % CACHED_GROUPS] == group)
		stats->cache[key.low % CACHED_GROUPS] = NULL;
	(void) hash_search(stats->groups, &key, HASH_REMOVE, NULL);
}

/*
 * Writes a group to the file.  end is the end of the transaction, if the group
 * is one, and has ended.
 */
static void
write_group(WalredoWalStats *stats, const StatsGroup *group, const XactEnd *end)
{
	GroupRow	row = {0};

	row.key = group->key;
	row.counts = group->counts;
	row.name = group->name;
	if (end != NULL)
	{
		row.has_end = true;
		row.is_committed = end->is_commit;
		row.at = end->xact_time;
	}
	BufFileWrite(stats->file, &row, sizeof(row));
	stats->nrows++;
}

/* ----------------------------------------
 * Relations
 * ----------------------------------------
 */

static StatsGroup *
get_relation(WalredoWalStats *stats, const RelFileLocator *locator)
{
	return get_group(stats, (uint64) LocatorSpcOid(*locator) << 32 |
					 LocatorDbOid(*locator), LocatorRelNumber(*locator));
}

static RelFileLocator
locator_of_key(const GroupKey *key)
{
	RelFileLocator locator;

	LocatorSpcOid(locator) = key->high >> 32;
	LocatorDbOid(locator) = (Oid) key->high;
	LocatorRelNumber(locator) = (RelFileNumber) key->low;
	return locator;
}

/* Is this the group of records without blocks? */
static bool
is_of_no_relation(const GroupKey *key)
{
	return !RelFileNumberIsValid(key->low);
}

/*
 * Takes the name that rows of pg_class in WAL tell, unless one is known that is
 * better.  The row of a file that was made by a transaction that has not
 * committed is there for that transaction only, but then nobody else has given
 * the file a name.
 */
static void
name_from_wal(WalredoWalStats *stats, WalredoFileNames *names,
			  StatsGroup *group)
{
	RelFileLocator locator = locator_of_key(&group->key);
	WalredoNamedFile *file = walredo_file_names_file(names, &locator);
	WalredoXact *xact = NULL;
	bool		is_certain;
	const char *name = walredo_file_names_current(file, InvalidXLogRecPtr,
												  NULL, &is_certain);

	if (!is_certain && group->is_created)
		name = walredo_file_names_first(file, 0, &xact);
	if (name == NULL || (group->name != NULL && !is_certain))
		return;
	group->name = MemoryContextStrdup(stats->context, name);
	group->is_certain = is_certain;
}

static void
name_from_server(WalredoWalStats *stats, StatsGroup *group)
{
	RelFileLocator locator = locator_of_key(&group->key);
	char	   *name = walredo_file_name_of_server(&locator, stats->of_server);

	if (name == NULL)
		return;
	group->name = MemoryContextStrdup(stats->context, name);
	group->is_certain = true;
	pfree(name);
}

/*
 * A file is made.  It can have a number that another file had before, so that
 * what is known of the number so far is not about it.
 */
static void
create_relation(WalredoWalStats *stats, const RelFileLocator *locator)
{
	StatsGroup *group = get_relation(stats, locator);

	if (group->counts.records > 0 || group->counts.image_bytes > 0)
	{
		name_from_wal(stats, stats->names, group);
		write_group(stats, group, NULL);
		remove_group(stats, group);
		group = get_relation(stats, locator);
		walredo_file_names_forget(stats->names,
								  walredo_file_names_file(stats->names,
														  locator));
	}
	group->is_created = true;
}

static void
count_for_relations(WalredoWalStats *stats, const XLogRecord *record,
					XLogRecPtr end_lsn)
{
	uint32		left = record->xl_tot_len;
	StatsGroup *first = NULL;
	StatsGroup *group = NULL;
	WalredoBlockIterator iter;
	WalredoPageChange *list;

	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
	{
		const WalredoBlockRef *block = &iter.block;

		if (group == NULL || (block->flags & BKPBLOCK_SAME_REL) == 0)
		{
			if (!RelFileNumberIsValid(LocatorRelNumber(block->locator)))
				walredo_report_broken_record(end_lsn, "The record refers to an invalid page address.");
			group = get_relation(stats, &block->locator);
		}
		if (first == NULL)
			first = group;
		group->counts.record_bytes += block->data_length;
		group->counts.image_bytes += block->image_length;
		stats->total.image_bytes += block->image_length;
		left -= block->data_length + block->image_length;
	}
	if (iter.error != NULL)
		walredo_report_broken_record(end_lsn, iter.error);
	if (first == NULL)
		first = get_group(stats, 0, 0);
	first->counts.records++;
	first->counts.record_bytes += left;

	walredo_file_names_add(stats->names, record, end_lsn);
	if (record->xl_rmid != RM_SMGR_ID)
		return;
	(void) walredo_changes_of(stats->changes, record, end_lsn, &list);
	for (int i = 0; i < stats->changes->num_files; i++)
	{
		const FileChange *change = &stats->changes->files[i];
		RelFileLocator locator = walredo_tag_locator(&change->tag);

		if (change->end == WALREDO_FILE_CREATED &&
			change->scope == SCOPE_RELATION)
			create_relation(stats, &locator);
	}
}

/* Forgets the names of files that a transaction has removed as it ended. */
static void
forget_removed(WalredoFileNames *names, const XactEnd *end)
{
	for (int i = 0; i < end->nrelations; i++)
	{
		RelFileLocator locator;

		memcpy(&locator, end->relations + i * sizeof(locator), sizeof(locator));
		walredo_file_names_forget(names,
								  walredo_file_names_file(names, &locator));
	}
}

/*
 * Looks in older WAL for names of the relations that lack one.  That there is
 * no such WAL, or that it is broken, is no error.  The range is read again,
 * too, as transactions may have begun before it.
 */
static void
search_names(WalredoWalStats *stats, const char *directory, HTAB *wanted,
			 XLogRecPtr first_lsn, XLogRecPtr end_lsn)
{
	WalredoReader *reader = walredo_reader_begin_search(directory,
														WALREDO_START_OF_WAL);
	uint64		nrecords = 0;

	if (walredo_reader_first_lsn(reader) < first_lsn)
	{
		MemoryContext old_context = MemoryContextSwitchTo(stats->context);
		WalredoFileNames *names = walredo_file_names_create(stats->of_server,
															wanted);
		HASH_SEQ_STATUS status;
		const RelFileLocator *locator;

		MemoryContextSwitchTo(old_context);
		while (walredo_reader_next(reader) &&
			   walredo_reader_end_lsn(reader) <= end_lsn)
		{
			const XLogRecord *record = walredo_reader_record(reader);
			XLogRecPtr	lsn = walredo_reader_end_lsn(reader);
			XactEnd		end;

			walredo_file_names_add(names, record, lsn);
			if (lsn <= first_lsn && record->xl_rmid == RM_XACT_ID &&
				walredo_record_xact_end(record, lsn, &end))
				forget_removed(names, &end);
			if (++nrecords % RECORDS_BETWEEN_CHECKS == 0)
				check_memory(stats, lsn);
		}
		hash_seq_init(&status, wanted);
		while ((locator = hash_seq_search(&status)) != NULL)
			name_from_wal(stats, names, get_relation(stats, locator));
		walredo_file_names_free(names);
	}
	walredo_reader_end(reader);
}

/* Gives relations their names. */
static void
name_relations(WalredoWalStats *stats, const char *directory,
			   XLogRecPtr first_lsn, XLogRecPtr end_lsn)
{
	HASHCTL		ctl = {0};
	HTAB	   *wanted;
	HASH_SEQ_STATUS status;
	StatsGroup *group;

	ctl.keysize = ctl.entrysize = sizeof(RelFileLocator);
	ctl.hcxt = stats->context;
	wanted = hash_create("walredo relations without names", 64, &ctl,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	hash_seq_init(&status, stats->groups);
	while ((group = hash_seq_search(&status)) != NULL)
	{
		if (is_of_no_relation(&group->key))
			continue;
		CHECK_FOR_INTERRUPTS();
		name_from_wal(stats, stats->names, group);
		if (!group->is_certain)
			name_from_server(stats, group);

		/* Older WAL has nothing of a file that was made later. */
		if (!group->is_certain && !group->is_created)
		{
			RelFileLocator locator = locator_of_key(&group->key);

			(void) hash_search(wanted, &locator, HASH_ENTER, NULL);
		}
	}
	if (hash_get_num_entries(wanted) > 0)
		search_names(stats, directory, wanted, first_lsn, end_lsn);
	hash_destroy(wanted);
}

/* ----------------------------------------
 * Transactions
 * ----------------------------------------
 */

/* WAL tells that one transaction is a subtransaction of another. */
static void
set_top_xact(WalredoWalStats *stats, StatsGroup *group, StatsGroup *top)
{
	dlist_mutable_iter iter;

	/* Nothing keeps a record from naming a transaction that is no top. */
	if (top->top != NULL)
		top = top->top;
	if (group == top || group->top != NULL)
		return;
	dlist_foreach_modify(iter, &group->subxacts)
	{
		StatsGroup *sub = dlist_container(StatsGroup, node, iter.cur);

		dlist_delete(&sub->node);
		sub->top = top;
		dlist_push_tail(&top->subxacts, &sub->node);
	}
	group->top = top;
	dlist_push_tail(&top->subxacts, &group->node);
	add_counts(&top->counts, &group->counts);
	memset(&group->counts, 0, sizeof(group->counts));
}

/* As xact_redo() in src/backend/access/transam/xact.c. */
static void
assign_subxacts(WalredoWalStats *stats, const XLogRecord *record,
				XLogRecPtr end_lsn, uint32 main_size)
{
	const char *data = (const char *) record + record->xl_tot_len - main_size;
	xl_xact_assignment xlrec;
	StatsGroup *top;

	if (main_size < MinSizeOfXactAssignment)
		walredo_report_broken_record(end_lsn, "The record's main data is too short.");
	memcpy(&xlrec, data, MinSizeOfXactAssignment);
	data += MinSizeOfXactAssignment;
	if (xlrec.nsubxacts < 0 ||
		xlrec.nsubxacts > (main_size - MinSizeOfXactAssignment) /
		sizeof(TransactionId) || !TransactionIdIsValid(xlrec.xtop))
		walredo_report_broken_record(end_lsn, "The record's main data is too short.");
	top = get_group(stats, 0, xlrec.xtop);
	for (int i = 0; i < xlrec.nsubxacts; i++)
	{
		TransactionId xid;

		memcpy(&xid, data + i * sizeof(xid), sizeof(xid));
		if (TransactionIdIsValid(xid))
			set_top_xact(stats, get_group(stats, 0, xid), top);
	}
}

/* A transaction has ended, with those subtransactions that end with it. */
static void
end_xact(WalredoWalStats *stats, const XLogRecord *record, const XactEnd *end)
{
	TransactionId xid = walredo_xact_end_xid(end, record, 0);
	dlist_mutable_iter iter;
	StatsGroup *group;

	if (!TransactionIdIsValid(xid))
		return;
	group = get_group(stats, 0, xid);
	for (int i = 1; i <= end->nsubxacts; i++)
	{
		TransactionId subxid = walredo_xact_end_xid(end, record, i);
		StatsGroup *sub = find_group(stats, 0, subxid);

		CHECK_FOR_INTERRUPTS();
		if (sub != NULL && TransactionIdIsValid(subxid))
			set_top_xact(stats, sub, group);
	}
	if (group->top != NULL)
	{
		/* It was rolled back to a savepoint, and has counted for the top. */
		dlist_delete(&group->node);
		remove_group(stats, group);
		return;
	}
	if (group->counts.records > 0)
		write_group(stats, group, end);
	dlist_foreach_modify(iter, &group->subxacts)
	{
		dlist_delete(iter.cur);
		remove_group(stats, dlist_container(StatsGroup, node, iter.cur));
	}
	remove_group(stats, group);
}

static void
count_for_xact(WalredoWalStats *stats, const XLogRecord *record,
			   XLogRecPtr end_lsn, const WalredoBlockIterator *headers,
			   const WalredoWalCounts *counts)
{
	TransactionId xid = record->xl_xid;
	StatsGroup *group = get_group(stats, 0, xid);
	XactEnd		end;

	if (TransactionIdIsValid(headers->toplevel_xid) &&
		TransactionIdIsValid(xid))
		set_top_xact(stats, group,
					 get_group(stats, 0, headers->toplevel_xid));
	add_counts(&(group->top != NULL ? group->top : group)->counts, counts);
	if (record->xl_rmid != RM_XACT_ID)
		return;
	if ((record->xl_info & XLOG_XACT_OPMASK) == XLOG_XACT_ASSIGNMENT)
		assign_subxacts(stats, record, end_lsn, headers->main_size);
	else if (walredo_record_xact_end(record, end_lsn, &end))
		end_xact(stats, record, &end);
}

/* ----------------------------------------
 * Minutes
 * ----------------------------------------
 */

/*
 * The time of a record, if it has one.  As getRecordTimestamp() in
 * src/backend/access/transam/xlogrecovery.c.
 */
static bool
get_record_time(const XLogRecord *record, XLogRecPtr end_lsn, uint32 main_size,
				TimestampTz *at)
{
	XactEnd		end;

	if (record->xl_rmid == RM_XLOG_ID &&
		(record->xl_info & ~XLR_INFO_MASK) == XLOG_RESTORE_POINT)
	{
		if (main_size < sizeof(*at))
			walredo_report_broken_record(end_lsn, "The record's main data is too short.");
		memcpy(at, (const char *) record + record->xl_tot_len - main_size +
			   offsetof(xl_restore_point, rp_time), sizeof(*at));
	}
	else if (record->xl_rmid == RM_XACT_ID &&
			 walredo_record_xact_end(record, end_lsn, &end))
		*at = end.xact_time;
	else
		return false;
	return IS_VALID_TIMESTAMP(*at);
}

static void
count_for_minute(WalredoWalStats *stats, const XLogRecord *record,
				 XLogRecPtr end_lsn, uint32 main_size,
				 const WalredoWalCounts *counts)
{
	TimestampTz at;

	add_counts(&stats->pending, counts);
	if (get_record_time(record, end_lsn, main_size, &at))
	{
		/* All timestamps together are more than an int64 can count. */
		uint64		minute = ((uint64) at - (uint64) MIN_TIMESTAMP) /
			USECS_PER_MINUTE + 1;

		add_counts(&get_group(stats, 0, minute)->counts, &stats->pending);
		memset(&stats->pending, 0, sizeof(stats->pending));
	}
}

/* ----------------------------------------
 * All
 * ----------------------------------------
 */

static WalredoWalStats *
begin_stats(WalredoReader *reader, WalredoStatsBy by)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo WAL statistics",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoWalStats *stats = palloc0(sizeof(WalredoWalStats));
	HASHCTL		ctl = {0};

	stats->context = context;
	stats->by = by;
	stats->reader = reader;
	ctl.keysize = sizeof(GroupKey);
	ctl.entrysize = sizeof(StatsGroup);
	ctl.hcxt = context;
	stats->groups = hash_create("walredo groups of records", 256, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stats->file = BufFileCreateTemp(false);
	if (by == WALREDO_BY_RELATION)
	{
		stats->of_server = walredo_reader_is_of_server(reader);
		stats->names = walredo_file_names_create(stats->of_server, NULL);
		stats->changes = walredo_changes_create(walredo_filter_file_changes());
	}
	MemoryContextSwitchTo(old_context);
	return stats;
}

/* The number that a type of records has among those of a resource manager. */
static uint8
type_of_record(const XLogRecord *record)
{
	/* As XLogRecStoreStats() in src/backend/access/transam/xlogstats.c. */
	if (record->xl_rmid == RM_XACT_ID)
		return record->xl_info & XLOG_XACT_OPMASK;
	return record->xl_info & ~XLR_INFO_MASK;
}

/* Counts a record for a group that it belongs to as a whole. */
static void
count_for_group(WalredoWalStats *stats, const XLogRecord *record,
				XLogRecPtr end_lsn)
{
	WalredoWalCounts counts = {.records = 1};
	WalredoBlockIterator iter;

	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
		counts.image_bytes += iter.block.image_length;
	if (iter.error != NULL)
		walredo_report_broken_record(end_lsn, iter.error);
	counts.record_bytes = record->xl_tot_len - counts.image_bytes;
	stats->total.image_bytes += counts.image_bytes;

	switch (stats->by)
	{
		case WALREDO_BY_RESOURCE_MANAGER:
			add_counts(&get_group(stats, record->xl_rmid, 0)->counts, &counts);
			break;
		case WALREDO_BY_RECORD_TYPE:
			add_counts(&get_group(stats, record->xl_rmid,
								  type_of_record(record))->counts, &counts);
			break;
		case WALREDO_BY_TRANSACTION:
			count_for_xact(stats, record, end_lsn, &iter, &counts);
			break;
		case WALREDO_BY_MINUTE:
			count_for_minute(stats, record, end_lsn, iter.main_size, &counts);
			break;
		case WALREDO_BY_RELATION:
			pg_unreachable();
	}
}

static int
compare_groups(const void *a, const void *b)
{
	const GroupKey *ka = &(*(StatsGroup *const *) a)->key;
	const GroupKey *kb = &(*(StatsGroup *const *) b)->key;

	if (ka->high != kb->high)
		return ka->high < kb->high ? -1 : 1;
	if (ka->low != kb->low)
		return ka->low < kb->low ? -1 : 1;
	return 0;
}

/* Writes the groups that are still in the hash table to the file. */
static void
write_groups(WalredoWalStats *stats)
{
	long		ngroups;
	StatsGroup **groups;
	HASH_SEQ_STATUS status;
	StatsGroup *group;

	ngroups = hash_get_num_entries(stats->groups);
	groups = MemoryContextAllocHuge(stats->context,
									Max(ngroups, 1) * sizeof(StatsGroup *));
	ngroups = 0;
	hash_seq_init(&status, stats->groups);
	while ((group = hash_seq_search(&status)) != NULL)
		groups[ngroups++] = group;
	qsort(groups, ngroups, sizeof(StatsGroup *), compare_groups);
	for (long i = 0; i < ngroups; i++)
	{
		group = groups[i];

		/* Some are there for another reason than that they have records. */
		if (group->counts.records > 0 || group->counts.record_bytes > 0 ||
			group->counts.image_bytes > 0)
			write_group(stats, group, NULL);
	}
	pfree(groups);
}

WalredoWalStats *
walredo_wal_stats_read(const char *directory, XLogRecPtr start_lsn,
					   XLogRecPtr end_lsn, WalredoStatsBy by)
{
	WalredoReader *reader = walredo_reader_begin(directory, start_lsn, end_lsn);
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	WalredoWalStats *stats = begin_stats(reader, by);
	uint64		bytes = 0;

	while (walredo_reader_next(reader))
	{
		const XLogRecord *record = walredo_reader_record(reader);

		end_lsn = walredo_reader_end_lsn(reader);
		if (by == WALREDO_BY_RELATION)
			count_for_relations(stats, record, end_lsn);
		else
			count_for_group(stats, record, end_lsn);
		bytes += record->xl_tot_len;
		if (++stats->total.records % RECORDS_BETWEEN_CHECKS == 0)
			check_memory(stats, end_lsn);
	}
	stats->total.record_bytes = bytes - stats->total.image_bytes;
	end_lsn = walredo_reader_end_lsn(reader);
	if (by == WALREDO_BY_MINUTE)
		add_counts(&get_group(stats, 0, 0)->counts, &stats->pending);
	else if (by == WALREDO_BY_RELATION)
	{
		name_relations(stats, directory, first_lsn, end_lsn);
		walredo_file_names_free(stats->names);
	}
	write_groups(stats);
	walredo_reader_end(reader);

	if (BufFileSeek(stats->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file")));
	return stats;
}

WalredoWalCounts
walredo_wal_stats_total(const WalredoWalStats *stats)
{
	return stats->total;
}

/* Says what a group is of. */
static void
describe_group(WalredoWalStats *stats, const GroupRow *row,
			   WalredoWalStat *stat)
{
	const GroupKey *key = &row->key;
	RelFileLocator locator;
	XLogRecord	record;

	switch (stats->by)
	{
		case WALREDO_BY_RELATION:
			if (is_of_no_relation(key))
				break;
			locator = locator_of_key(key);
			stat->has_tag = true;
			stat->tag = walredo_tag_of_block(&locator, MAIN_FORKNUM, 0);
			stat->relation = row->name != NULL ? row->name :
				psprintf("%u", LocatorRelNumber(locator));
			break;
		case WALREDO_BY_RESOURCE_MANAGER:
			stat->resource_manager = walredo_rmgr_name((RmgrId) key->high);
			break;
		case WALREDO_BY_RECORD_TYPE:
			record.xl_rmid = (RmgrId) key->high;
			record.xl_info = (uint8) key->low;
			stat->resource_manager = walredo_rmgr_name(record.xl_rmid);
			stat->record_type = walredo_record_type(&record);
			break;
		case WALREDO_BY_TRANSACTION:
			stat->xid = (TransactionId) key->low;
			stat->has_end = row->has_end;
			stat->is_committed = row->is_committed;
			stat->has_time = row->has_end && IS_VALID_TIMESTAMP(row->at);
			stat->at = row->at;
			break;
		case WALREDO_BY_MINUTE:
			stat->has_time = key->low > 0;
			stat->at = (TimestampTz) ((uint64) MIN_TIMESTAMP +
									  (key->low - 1) * USECS_PER_MINUTE);
			break;
	}
}

bool
walredo_wal_stats_next(WalredoWalStats *stats, WalredoWalStat *stat)
{
	GroupRow	row;
	MemoryContext old_context;

	if (stats->nrows == 0)
	{
		BufFileClose(stats->file);
		MemoryContextDelete(stats->context);
		return false;
	}
	walredo_buffile_read_exact(stats->file, &row, sizeof(row));
	stats->nrows--;
	memset(stat, 0, sizeof(WalredoWalStat));
	stat->counts = row.counts;
	old_context = MemoryContextSwitchTo(stats->context);
	describe_group(stats, &row, stat);
	MemoryContextSwitchTo(old_context);
	return true;
}
