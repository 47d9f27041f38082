/*-------------------------------------------------------------------------
 *
 * file_names.c
 *	  Which relations the files in WAL belong to.
 *
 * A row of pg_class has the number of the relation's file (relfilenode), its
 * tablespace, and its name.  WAL has such a row where it is inserted, updated
 * or changed in place, and all rows of a page where it has an image of that
 * page.  The record of an update leaves out what the new row has in common with
 * the old one at its beginning and its end, so the rows that are known are kept
 * with the places where they are.
 *
 * Relations whose files are in the relation map, pg_class among them, have no
 * number in their row.  The map is in WAL whenever it changes.
 *
 * It matters more that a name is right than that there is one.  Rows of
 * transactions that have aborted, or have not ended, do not count for others.
 * Rows in an image are taken in the order in which they replaced each other.
 * What is broken is passed over.  And where WAL does not show what a new row
 * was made of, the row is not guessed at: that happens only where the old row
 * was never in the WAL that was read, so that no older name is known, either.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/file_names.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/htup_details.h"
#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlogreader.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace_d.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "record/image.h"
#include "record/xlogrecord.h"
#include "storage/bufpage.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/relmapper.h"
#include "wal/changes_internal.h"
#include "wal/file_names.h"

/* All columns of pg_class that are needed here are before this byte. */
#define CLASS_ROW_SIZE	(offsetof(FormData_pg_class, relkind) + sizeof(char))

/* The header of the relation map, and what follows it: see relmapper.c. */
#define RELMAP_MAGIC	0x592717
typedef struct RelMapHeader
{
	int32		magic;
	int32		num_mappings;
} RelMapHeader;

typedef struct RelMapEntry
{
	Oid			relid;
	RelFileNumber relNumber;
} RelMapEntry;

/* A file that pg_class of a database is in, or was. */
typedef struct ClassFile
{
	Oid			dbOid;
	RelFileNumber relNumber;
} ClassFile;

/* Where a row of pg_class is. */
typedef struct RowPlace
{
	ClassFile	file;
	BlockNumber blkno;
	uint32		offnum;			/* no padding: this is a hash key */
} RowPlace;

/* A row whose bytes are known: those after the tuple's header. */
typedef struct KnownRow
{
	RowPlace	place;			/* hash key */
	Size		size;
	char	   *data;
} KnownRow;

typedef struct XactEntry
{
	TransactionId xid;			/* hash key */
	WalredoXact *xact;			/* an ID that is used again gets another */
} XactEntry;

struct WalredoFileNames
{
	MemoryContext context;
	HTAB	   *wanted;
	HTAB	   *files;			/* of WalredoNamedFiles */
	HTAB	   *xacts;			/* of XactEntries */
	HTAB	   *class_files;	/* of ClassFiles */
	HTAB	   *known_rows;		/* of KnownRows */
	uint64		class_bits;		/* relations in class_files, and pg_class's
								 * first file: see xlogrecord.h */

	/* For the records that are decoded. */
	XLogReaderState *state;
	DecodedXLogRecord *decoded;
	Size		decoded_size;
};

static HTAB *
make_hash(const char *name, Size keysize, Size entrysize)
{
	HASHCTL		ctl = {0};

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Takes note that a file is one of pg_class. */
static void
add_class_file(WalredoFileNames *names, Oid dbOid, RelFileNumber relNumber)
{
	ClassFile	file = {dbOid, relNumber};

	(void) hash_search(names->class_files, &file, HASH_ENTER, NULL);
	names->class_bits |= WalredoRelationBit(relNumber);
}

WalredoFileNames *
walredo_file_names_create(bool of_server, HTAB *wanted)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo file names",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoFileNames *names = palloc0(sizeof(WalredoFileNames));

	names->context = context;
	names->wanted = wanted;
	names->files = make_hash("walredo files", sizeof(RelFileLocator),
							 sizeof(WalredoNamedFile));
	names->xacts = make_hash("walredo transactions", sizeof(TransactionId),
							 sizeof(XactEntry));
	names->class_files = make_hash("walredo files of pg_class",
								   sizeof(ClassFile), sizeof(ClassFile));
	names->known_rows = make_hash("walredo rows of pg_class",
								  sizeof(RowPlace), sizeof(KnownRow));
	names->class_bits = WalredoRelationBit(RelationRelationId);
	if (of_server)
		add_class_file(names, MyDatabaseId,
					   RelationMapOidToFilenumber(RelationRelationId, false));
	names->state = XLogReaderAllocate(wal_segment_size, NULL,
									  XL_ROUTINE(.page_read = NULL), NULL);
	if (names->state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	MemoryContextSwitchTo(old_context);
	return names;
}

void
walredo_file_names_free(WalredoFileNames *names)
{
	XLogReaderFree(names->state);
	MemoryContextDelete(names->context);
}

/* ----------------------------------------
 * Transactions
 * ----------------------------------------
 */

WalredoXact *
walredo_file_names_xact(WalredoFileNames *names, TransactionId xid)
{
	XactEntry  *entry;
	bool		found;

	if (!TransactionIdIsNormal(xid))
		return NULL;
	entry = hash_search(names->xacts, &xid, HASH_ENTER, &found);

	if (!found)
	{
		entry->xact = MemoryContextAllocZero(names->context,
											 sizeof(WalredoXact));
		entry->xact->xid = entry->xact->top_xid = xid;
	}
	return entry->xact;
}

/* The end of one of the transactions that something was asked of. */
static void
end_xact(WalredoFileNames *names, TransactionId xid, TransactionId top_xid,
		 const XactEnd *end, XLogRecPtr end_lsn)
{
	XactEntry  *entry = hash_search(names->xacts, &xid, HASH_FIND, NULL);
	WalredoXact *xact;

	if (entry == NULL)
		return;
	xact = entry->xact;

	/*
	 * A subtransaction that has been rolled back is in the record of its own
	 * end only.  The ID of another one that has ended is used again.
	 */
	if (xact->state != WALREDO_XACT_RUNNING)
	{
		xact = MemoryContextAllocZero(names->context, sizeof(WalredoXact));
		xact->xid = xid;
		entry->xact = xact;
	}
	xact->top_xid = top_xid;
	xact->state = end->is_commit ? WALREDO_XACT_COMMITTED :
		WALREDO_XACT_ABORTED;
	xact->ended_at = end->xact_time;
	xact->end_lsn = end_lsn;
}

static void
add_xact_end(WalredoFileNames *names, const XLogRecord *record,
			 XLogRecPtr end_lsn)
{
	XactEnd		end;
	TransactionId top_xid;

	if (!walredo_record_xact_end(record, end_lsn, &end))
		return;
	top_xid = walredo_xact_end_xid(&end, record, 0);
	for (int i = 0; i <= end.nsubxacts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		end_xact(names, walredo_xact_end_xid(&end, record, i), top_xid, &end,
				 end_lsn);
	}
}

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

WalredoNamedFile *
walredo_file_names_file(WalredoFileNames *names, const RelFileLocator *locator)
{
	WalredoNamedFile *file;
	bool		found;

	file = hash_search(names->files, locator, HASH_ENTER, &found);
	if (!found)
	{
		file->nrows = file->max_rows = 0;
		file->rows = NULL;
		file->pending = -1;
	}
	return file;
}

WalredoNamedFile *
walredo_file_names_next(WalredoFileNames *names, WalredoFileSeq *seq)
{
	if (!seq->begun)
		hash_seq_init(&seq->status, names->files);
	seq->begun = true;
	return hash_seq_search(&seq->status);
}

void
walredo_file_names_forget(WalredoFileNames *names, WalredoNamedFile *file)
{
	if (file->rows != NULL)
		pfree(file->rows);
	(void) hash_search(names->files, &file->locator, HASH_REMOVE, NULL);
}

static void
add_row(WalredoFileNames *names, const RelFileLocator *locator,
		const WalredoClassRow *row)
{
	WalredoNamedFile *file;

	if (names->wanted != NULL &&
		hash_search(names->wanted, locator, HASH_FIND, NULL) == NULL)
		return;
	file = walredo_file_names_file(names, locator);

	/* Every image has its rows, but each was written once. */
	if (row->from_image)
	{
		for (int i = 0; i < file->nrows; i++)
		{
			WalredoClassRow *other = &file->rows[i];

			if (other->blkno != row->blkno || other->offnum != row->offnum ||
				other->oid != row->oid ||
				strcmp(NameStr(other->relname), NameStr(row->relname)) != 0)
				continue;
			/* Rows that come later have replaced it. */
			if (row->xact == NULL)
				other->xact = NULL;
			if (i < file->nrows - 1)
			{
				WalredoClassRow copy = *other;

				memmove(other, other + 1,
						(file->nrows - 1 - i) * sizeof(WalredoClassRow));
				file->rows[file->nrows - 1] = copy;
			}
			return;
		}
	}
	if (file->nrows == file->max_rows)
	{
		file->max_rows = Max(2, file->max_rows * 2);
		file->rows = file->rows == NULL ?
			MemoryContextAlloc(names->context,
							   file->max_rows * sizeof(WalredoClassRow)) :
			repalloc_huge(file->rows,
						  file->max_rows * sizeof(WalredoClassRow));
	}
	file->rows[file->nrows++] = *row;
}

/* ----------------------------------------
 * Rows of pg_class
 * ----------------------------------------
 */

/* The page of pg_class that is looked at. */
typedef struct ClassPage
{
	RelFileLocator locator;		/* of pg_class */
	BlockNumber blkno;
} ClassPage;

/*
 * Takes a row of pg_class of which data is what follows the tuple's header.
 * Keeps the bytes, for the update of the row, if with_data is true.
 */
static void
add_class_row(WalredoFileNames *names, const ClassPage *page,
			  OffsetNumber offnum, const char *data, Size size,
			  WalredoXact *xact, bool from_image)
{
	FormData_pg_class form;
	RowPlace	place = {0};
	KnownRow   *known;
	RelFileLocator locator;
	WalredoClassRow row = {0};
	bool		is_sound;
	bool		found;

	place.file.dbOid = LocatorDbOid(page->locator);
	place.file.relNumber = LocatorRelNumber(page->locator);
	place.blkno = page->blkno;
	place.offnum = offnum;

	/* Is this a relation that has a file of which WAL tells? */
	is_sound = size >= CLASS_ROW_SIZE;
	if (is_sound)
	{
		memset(&form, 0, sizeof(form));
		memcpy(&form, data, CLASS_ROW_SIZE);
		is_sound = OidIsValid(form.oid) &&
			memchr(NameStr(form.relname), '\0', NAMEDATALEN) != NULL &&
			NameStr(form.relname)[0] != '\0' &&
			RELKIND_HAS_STORAGE(form.relkind) &&
			(form.relpersistence == RELPERSISTENCE_PERMANENT ||
			 form.relpersistence == RELPERSISTENCE_UNLOGGED);
	}
	if (!is_sound)
	{
		known = hash_search(names->known_rows, &place, HASH_FIND, NULL);
		if (known != NULL)
		{
			pfree(known->data);
			(void) hash_search(names->known_rows, &place, HASH_REMOVE, NULL);
		}
		return;
	}

	known = hash_search(names->known_rows, &place, HASH_ENTER, &found);
	if (!found || known->size != size)
	{
		if (found)
			pfree(known->data);
		known->data = MemoryContextAlloc(names->context, size);
		known->size = size;
	}
	memcpy(known->data, data, size);

	if (!RelFileNumberIsValid(form.relfilenode))
		return;
	LocatorSpcOid(locator) = OidIsValid(form.reltablespace) ?
		form.reltablespace : LocatorSpcOid(page->locator);
	LocatorDbOid(locator) = form.reltablespace == GLOBALTABLESPACE_OID ?
		InvalidOid : LocatorDbOid(page->locator);
	LocatorRelNumber(locator) = form.relfilenode;
	row.relname = form.relname;
	row.oid = form.oid;
	row.xact = xact;
	row.from_image = from_image;
	row.blkno = page->blkno;
	row.offnum = offnum;
	add_row(names, &locator, &row);
}

/* The tuple at a line pointer of a page, if it is sound; else NULL. */
static HeapTupleHeader
get_tuple(const char *page, OffsetNumber offnum, Size *size)
{
	ItemId		item = PageGetItemId((Page) page, offnum);
	HeapTupleHeader tuple;

	if (!ItemIdIsNormal(item) || ItemIdGetOffset(item) >= BLCKSZ ||
		ItemIdGetOffset(item) != MAXALIGN(ItemIdGetOffset(item)) ||
		ItemIdGetOffset(item) + ItemIdGetLength(item) > BLCKSZ ||
		ItemIdGetLength(item) < SizeofHeapTupleHeader)
		return NULL;
	tuple = (HeapTupleHeader) (page + ItemIdGetOffset(item));
	if (tuple->t_hoff < SizeofHeapTupleHeader ||
		tuple->t_hoff > ItemIdGetLength(item))
		return NULL;
	*size = ItemIdGetLength(item);
	return tuple;
}

/*
 * How many rows of the page have replaced the one at offnum, one after the
 * other.
 */
static int
count_successors(const char *page, BlockNumber blkno, OffsetNumber offnum,
				 OffsetNumber max_offnum)
{
	int			n = 0;
	Size		size;
	HeapTupleHeader tuple = get_tuple(page, offnum, &size);

	while (tuple != NULL && n < max_offnum)
	{
		OffsetNumber next = ItemPointerGetOffsetNumberNoCheck(&tuple->t_ctid);
		HeapTupleHeader successor;

		if (ItemPointerGetBlockNumberNoCheck(&tuple->t_ctid) != blkno ||
			next == offnum || next < FirstOffsetNumber || next > max_offnum)
			break;
		successor = get_tuple(page, next, &size);
		if (successor == NULL ||
			HeapTupleHeaderGetRawXmin(successor) !=
			HeapTupleHeaderGetRawXmax(tuple))
			break;
		tuple = successor;
		offnum = next;
		n++;
	}
	return n;
}

/* Takes the rows of a page of pg_class. */
static void
add_class_page(WalredoFileNames *names, const ClassPage *class_page,
			   const char *page)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	int			successors[MaxHeapTuplesPerPage];
	OffsetNumber max_offnum;
	int			most = 0;

	if (header->pd_lower < SizeOfPageHeaderData || header->pd_lower > BLCKSZ)
		return;
	max_offnum = (header->pd_lower - SizeOfPageHeaderData) / sizeof(ItemIdData);
	max_offnum = Min(max_offnum, MaxHeapTuplesPerPage);
	for (OffsetNumber i = 1; i <= max_offnum; i++)
	{
		successors[i - 1] = count_successors(page, class_page->blkno, i,
											 max_offnum);
		most = Max(most, successors[i - 1]);
	}

	/* Those that were replaced most often are the oldest. */
	for (int n = most; n >= 0; n--)
	{
		for (OffsetNumber i = 1; i <= max_offnum; i++)
		{
			Size		size;
			HeapTupleHeader tuple;
			WalredoXact *xact = NULL;

			CHECK_FOR_INTERRUPTS();
			if (successors[i - 1] != n)
				continue;
			tuple = get_tuple(page, i, &size);
			if (tuple == NULL || HeapTupleHeaderXminInvalid(tuple))
				continue;
			if (!HeapTupleHeaderXminCommitted(tuple))
			{
				TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple);

				xact = walredo_file_names_xact(names, xmin);
			}
			add_class_row(names, class_page, i, (char *) tuple + tuple->t_hoff,
						  size - tuple->t_hoff, xact, true);
		}
	}
}

/*
 * Takes a tuple as records have it: what follows the fixed part of its header,
 * which is the rest of the header, up to t_hoff, and then the row.
 */
static void
add_class_tuple(WalredoFileNames *names, const ClassPage *page,
				OffsetNumber offnum, uint8 t_hoff, const char *data, Size size,
				WalredoXact *xact)
{
	Size		skip;

	if (t_hoff < SizeofHeapTupleHeader)
		return;
	skip = t_hoff - SizeofHeapTupleHeader;
	if (skip <= size)
		add_class_row(names, page, offnum, data + skip, size - skip, xact,
					  false);
}

/* As heap_xlog_insert() in heapam.c. */
static void
add_insert(WalredoFileNames *names, const ClassPage *page, WalredoXact *xact)
{
	const char *main_data = XLogRecGetData(names->state);
	Size		size;
	const char *data = XLogRecGetBlockData(names->state, 0, &size);
	xl_heap_insert xlrec;
	xl_heap_header header;

	if (XLogRecGetDataLen(names->state) < SizeOfHeapInsert || data == NULL ||
		size < SizeOfHeapHeader)
		return;
	memcpy(&xlrec, main_data, SizeOfHeapInsert);
	memcpy(&header, data, SizeOfHeapHeader);
	add_class_tuple(names, page, xlrec.offnum, header.t_hoff,
					data + SizeOfHeapHeader, size - SizeOfHeapHeader, xact);
}

/* As heap_xlog_multi_insert() in heapam.c. */
static void
add_multi_insert(WalredoFileNames *names, const ClassPage *page,
				 WalredoXact *xact)
{
	const char *main_data = XLogRecGetData(names->state);
	Size		main_size = XLogRecGetDataLen(names->state);
	Size		size;
	const char *data = XLogRecGetBlockData(names->state, 0, &size);
	bool		is_init = (XLogRecGetInfo(names->state) &
						   XLOG_HEAP_INIT_PAGE) != 0;
	xl_heap_multi_insert xlrec;
	Size		at = 0;

	if (main_size < SizeOfHeapMultiInsert || data == NULL)
		return;
	memcpy(&xlrec, main_data, SizeOfHeapMultiInsert);
	if (!is_init && main_size < SizeOfHeapMultiInsert +
		xlrec.ntuples * sizeof(OffsetNumber))
		return;
	for (int i = 0; i < xlrec.ntuples; i++)
	{
		OffsetNumber offnum = FirstOffsetNumber + i;
		xl_multi_insert_tuple header;

		if (!is_init)
			memcpy(&offnum, main_data + SizeOfHeapMultiInsert +
				   i * sizeof(OffsetNumber), sizeof(OffsetNumber));
		at = SHORTALIGN(at);
		if (at > size || size - at < SizeOfMultiInsertTuple)
			return;
		memcpy(&header, data + at, SizeOfMultiInsertTuple);
		at += SizeOfMultiInsertTuple;
		if (size - at < header.datalen)
			return;
		add_class_tuple(names, page, offnum, header.t_hoff, data + at,
						header.datalen, xact);
		at += header.datalen;
	}
}

/* As heap_xlog_update() in heapam.c. */
static void
add_update(WalredoFileNames *names, const ClassPage *page, WalredoXact *xact)
{
	Size		size;
	const char *data = XLogRecGetBlockData(names->state, 0, &size);
	xl_heap_update xlrec;
	uint16		prefix_size = 0;
	uint16		suffix_size = 0;
	xl_heap_header header;
	RowPlace	place = {0};
	KnownRow   *old = NULL;
	PGAlignedBlock row;
	Size		skip;

	if (XLogRecGetDataLen(names->state) < SizeOfHeapUpdate || data == NULL)
		return;
	memcpy(&xlrec, XLogRecGetData(names->state), SizeOfHeapUpdate);
	if ((xlrec.flags & XLH_UPDATE_PREFIX_FROM_OLD) != 0)
	{
		if (size < sizeof(uint16))
			return;
		memcpy(&prefix_size, data, sizeof(uint16));
		data += sizeof(uint16);
		size -= sizeof(uint16);
	}
	if ((xlrec.flags & XLH_UPDATE_SUFFIX_FROM_OLD) != 0)
	{
		if (size < sizeof(uint16))
			return;
		memcpy(&suffix_size, data, sizeof(uint16));
		data += sizeof(uint16);
		size -= sizeof(uint16);
	}
	if (size < SizeOfHeapHeader)
		return;
	memcpy(&header, data, SizeOfHeapHeader);
	data += SizeOfHeapHeader;
	size -= SizeOfHeapHeader;
	if (header.t_hoff < SizeofHeapTupleHeader ||
		header.t_hoff - SizeofHeapTupleHeader > size)
		return;
	skip = header.t_hoff - SizeofHeapTupleHeader;
	data += skip;
	size -= skip;

	/* Both rows are on the same page if they share bytes. */
	if (prefix_size > 0 || suffix_size > 0)
	{
		place.file.dbOid = LocatorDbOid(page->locator);
		place.file.relNumber = LocatorRelNumber(page->locator);
		place.blkno = page->blkno;
		place.offnum = xlrec.old_offnum;
		old = hash_search(names->known_rows, &place, HASH_FIND, NULL);
		if (old == NULL || prefix_size > old->size || suffix_size > old->size ||
			prefix_size + size + suffix_size > BLCKSZ)
		{
			/* Whatever was at the place of the new row is not there now. */
			add_class_row(names, page, xlrec.new_offnum, NULL, 0, xact, false);
			return;
		}
		memcpy(row.data, old->data, prefix_size);
		memcpy(row.data + prefix_size, data, size);
		memcpy(row.data + prefix_size + size,
			   old->data + old->size - suffix_size, suffix_size);
		data = row.data;
		size += prefix_size + suffix_size;
	}
	add_class_row(names, page, xlrec.new_offnum, data, size, xact, false);
}

/*
 * As heap_xlog_inplace() in heapam.c.  The row was there before, as in an
 * image.  A transaction that has no ID has written no row, so this is
 * another's, and committed; one that has an ID may have written it.
 */
static void
add_inplace(WalredoFileNames *names, const ClassPage *page, WalredoXact *xact)
{
	Size		size;
	const char *data = XLogRecGetBlockData(names->state, 0, &size);
	OffsetNumber offnum;

	if (XLogRecGetDataLen(names->state) < sizeof(offnum) || data == NULL)
		return;
	memcpy(&offnum, XLogRecGetData(names->state), sizeof(offnum));
	add_class_row(names, page, offnum, data, size, xact, true);
}

/* Is a block one of pg_class? */
static bool
is_class_block(WalredoFileNames *names, const WalredoBlockRef *block)
{
	ClassFile	file = {LocatorDbOid(block->locator),
	LocatorRelNumber(block->locator)};

	return block->forknum == MAIN_FORKNUM && OidIsValid(file.dbOid) &&
		(file.relNumber == RelationRelationId ||
		 hash_search(names->class_files, &file, HASH_FIND, NULL) != NULL);
}

/* Decodes a record, which walredo_xlogrecord_check() has found sound. */
static bool
decode(WalredoFileNames *names, const XLogRecord *record, XLogRecPtr end_lsn)
{
	Size		size = DecodeXLogRecordRequiredSpace(record->xl_tot_len);
	char	   *errormsg;

	if (size > names->decoded_size)
	{
		if (names->decoded != NULL)
			pfree(names->decoded);
		names->decoded = NULL;
		names->decoded = MemoryContextAllocHuge(names->context, size);
		names->decoded_size = size;
	}
	names->state->EndRecPtr = end_lsn;
	if (!DecodeXLogRecord(names->state, names->decoded, (XLogRecord *) record,
						  InvalidXLogRecPtr, &errormsg))
		return false;
	names->state->record = names->decoded;
	return true;
}

/* Takes what a record that may name blocks of pg_class says of its rows. */
static void
add_class_record(WalredoFileNames *names, const XLogRecord *record,
				 XLogRecPtr end_lsn)
{
	WalredoBlockIterator iter;
	bool		is_decoded = false;

	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
	{
		const WalredoBlockRef *block = &iter.block;
		ClassPage	page = {block->locator, block->blkno};
		WalredoXact *xact;
		uint8		op = record->xl_info & XLOG_HEAP_OPMASK;

		if (!is_class_block(names, block))
			continue;
		if (!is_decoded && (walredo_xlogrecord_check(record) != NULL ||
							!decode(names, record, end_lsn)))
			return;
		is_decoded = true;

		/* An image has what the record does to the page. */
		if (block->has_image)
		{
			PGAlignedBlock image;

			if (!walredo_image_is_short(names->state, block->id) &&
				RestoreBlockImage(names->state, block->id, image.data))
				add_class_page(names, &page, image.data);
			continue;
		}
		if (block->id != 0)
			continue;

		xact = walredo_file_names_xact(names, record->xl_xid);
		if (record->xl_rmid == RM_HEAP_ID)
		{
			switch (op)
			{
				case XLOG_HEAP_INSERT:
					add_insert(names, &page, xact);
					break;
				case XLOG_HEAP_UPDATE:
				case XLOG_HEAP_HOT_UPDATE:
					add_update(names, &page, xact);
					break;
				case XLOG_HEAP_INPLACE:
					add_inplace(names, &page, xact);
					break;
				default:
					break;
			}
		}
		else if (record->xl_rmid == RM_HEAP2_ID &&
				 op == XLOG_HEAP2_MULTI_INSERT)
			add_multi_insert(names, &page, xact);
	}
}

/* ----------------------------------------
 * The relation map
 * ----------------------------------------
 */

/*
 * As relmap_redo() in src/backend/utils/cache/relmapper.c.  Mapped relations
 * are catalogs, which have the same OIDs in all databases.
 */
static void
add_relmap(WalredoFileNames *names, const XLogRecord *record)
{
	WalredoRecordHeaders headers;
	const char *data;
	xl_relmap_update xlrec;
	RelMapHeader header;
	Size		left;

	if ((record->xl_info & ~XLR_INFO_MASK) != XLOG_RELMAP_UPDATE)
		return;
	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL ||
		headers.main_size < MinSizeOfRelmapUpdate + sizeof(header))
		return;
	data = (const char *) record + record->xl_tot_len - headers.main_size;
	memcpy(&xlrec, data, MinSizeOfRelmapUpdate);
	memcpy(&header, data + MinSizeOfRelmapUpdate, sizeof(header));
	data += MinSizeOfRelmapUpdate + sizeof(header);
	left = headers.main_size - MinSizeOfRelmapUpdate - sizeof(header);
	if (header.magic != RELMAP_MAGIC || header.num_mappings < 0 ||
		header.num_mappings > left / sizeof(RelMapEntry))
		return;

	for (int i = 0; i < header.num_mappings; i++)
	{
		RelMapEntry entry;
		RelFileLocator locator;
		WalredoClassRow row = {0};
		char	   *relname;

		memcpy(&entry, data + i * sizeof(entry), sizeof(entry));
		if (entry.relid >= FirstUnpinnedObjectId ||
			!RelFileNumberIsValid(entry.relNumber))
			continue;
		if (entry.relid == RelationRelationId && OidIsValid(xlrec.dbid))
			add_class_file(names, xlrec.dbid, entry.relNumber);
		relname = get_rel_name(entry.relid);
		if (relname == NULL)
			continue;
		LocatorSpcOid(locator) = xlrec.tsid;
		LocatorDbOid(locator) = xlrec.dbid;
		LocatorRelNumber(locator) = entry.relNumber;
		namestrcpy(&row.relname, relname);
		row.oid = entry.relid;
		row.from_image = true;
		row.blkno = InvalidBlockNumber;
		add_row(names, &locator, &row);
		pfree(relname);
	}
}

void
walredo_file_names_add(WalredoFileNames *names, const XLogRecord *record,
					   XLogRecPtr end_lsn)
{
	switch (record->xl_rmid)
	{
		case RM_XACT_ID:
			add_xact_end(names, record, end_lsn);
			break;
		case RM_RELMAP_ID:
			add_relmap(names, record);
			break;
		case RM_HEAP_ID:
		case RM_HEAP2_ID:
		case RM_XLOG_ID:
			if (walredo_xlogrecord_may_name(record, names->class_bits,
											InvalidBlockNumber))
				add_class_record(names, record, end_lsn);
			break;
		default:
			break;
	}
}

/* ----------------------------------------
 * Names
 * ----------------------------------------
 */

/*
 * Is a row of the table that a rewrite fills, before it takes the place of the
 * one that is rewritten?  Its name is made of the OID of that one: see
 * make_new_heap() in src/backend/commands/cluster.c.
 */
static bool
is_transient(const WalredoClassRow *row)
{
	Oid			relid;
	char		end;

	return sscanf(NameStr(row->relname), "pg_temp_%u%c", &relid, &end) == 1;
}

/* A name, or NULL if it is no text in this database's encoding. */
static const char *
name_of_row(const WalredoClassRow *row)
{
	const char *name = NameStr(row->relname);

	return pg_verify_mbstr(GetDatabaseEncoding(), name, strlen(name), true) ?
		name : NULL;
}

/* How much a row tells of the name that a file had. */
typedef enum RowRank
{
	RANK_NONE,
	RANK_TRANSIENT,				/* the name of a rewrite's table */
	RANK_POSSIBLE,				/* whether it was committed is not known */
	RANK_CERTAIN
} RowRank;

/*
 * See walredo_file_names_current().  What has been written in WAL that was
 * read, and was not committed by then, does not count, except if the
 * transaction is the one that asks.  A row that was there before may have been
 * committed in older WAL.
 */
static RowRank
rank_row(const WalredoClassRow *row, XLogRecPtr lsn, const WalredoXact *xact)
{
	const WalredoXact *writer = row->xact;
	RowRank		rank = RANK_CERTAIN;

	if (writer != NULL && writer != xact && writer->end_lsn != lsn)
	{
		if (writer->state == WALREDO_XACT_ABORTED)
			return RANK_NONE;
		if (writer->state == WALREDO_XACT_RUNNING)
		{
			/* It may be another subtransaction of the one that asks. */
			if (!row->from_image &&
				(xact == NULL || xact->state != WALREDO_XACT_RUNNING))
				return RANK_NONE;
			rank = RANK_POSSIBLE;
		}
	}
	return is_transient(row) ? RANK_TRANSIENT : rank;
}

const char *
walredo_file_names_current(const WalredoNamedFile *file, XLogRecPtr lsn,
						   const WalredoXact *xact, bool *certain)
{
	const WalredoClassRow *best = NULL;
	RowRank		best_rank = RANK_NONE;

	for (int i = file->nrows - 1; i >= 0; i--)
	{
		RowRank		rank = rank_row(&file->rows[i], lsn, xact);

		if (rank > best_rank)
		{
			best = &file->rows[i];
			best_rank = rank;
		}
	}
	*certain = best_rank == RANK_CERTAIN;
	return best == NULL ? NULL : name_of_row(best);
}

const char *
walredo_file_names_first(const WalredoNamedFile *file, int first,
						 WalredoXact **xact)
{
	const WalredoClassRow *transient = NULL;

	for (int i = first; i < file->nrows; i++)
	{
		const WalredoClassRow *row = &file->rows[i];

		if (row->xact != NULL && row->xact->state == WALREDO_XACT_ABORTED &&
			*xact != NULL && *xact != row->xact &&
			(*xact)->top_xid != row->xact->top_xid)
			continue;
		if (*xact == NULL)
			*xact = row->xact;
		if (!is_transient(row))
			return name_of_row(row);
		if (transient == NULL)
			transient = row;
	}
	return transient == NULL ? NULL : name_of_row(transient);
}

/*
 * The catalogs that initdb makes have files whose numbers are their OIDs, and
 * no later file has such a number, so this is the same in all databases.
 */
char *
walredo_file_name_of_server(const RelFileLocator *locator, bool is_there)
{
	Oid			relid = InvalidOid;

	if (LocatorRelNumber(*locator) < FirstUnpinnedObjectId)
		return get_rel_name(LocatorRelNumber(*locator));
	if (is_there && (LocatorDbOid(*locator) == MyDatabaseId ||
					 LocatorDbOid(*locator) == InvalidOid))
		relid = RelidByRelfilenumber(LocatorSpcOid(*locator),
									 LocatorRelNumber(*locator));
	return OidIsValid(relid) ? get_rel_name(relid) : NULL;
}
