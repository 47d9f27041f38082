/*-------------------------------------------------------------------------
 *
 * versions.c
 *	  The row versions that were made and ended in a range of WAL.
 *
 * Heap records say where a row version is made or ended, and by whom, but often
 * not what is in it: that is in an image of the page, or left out by an update
 * that has not changed it.  So the pages are rebuilt on the way, and a version
 * is read out of its page as late as possible: before a record that may remove
 * versions from the page is applied, and at the end.  In between, a version
 * stays where it is, and its values do not change.  This way a page is replayed
 * once between two prunings, however many versions it has got.
 *
 * Whether a version counts is known only when its transactions have ended, so
 * all that happens to a version is kept until WAL has been read.  There can be
 * more of that than memory: the events, and the tuples as they are read, are
 * put into a sort, by place, and then in the order of WAL.  At each place, they
 * then tell the life of one version after the other.  What is kept in memory is
 * a bit for each version of a page that is to be read, and the transactions
 * that have done anything to the files.
 *
 * A version that is ended twice was first ended by a transaction that has been
 * rolled back.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/versions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/current.h"
#include "page/rebuild.h"
#include "port/pg_bswap.h"
#include "rows/chunks.h"
#include "rows/tuple.h"
#include "rows/tuple_events.h"
#include "rows/versions.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "wal/reader.h"
#include "wal/redo_point.h"
#include "wal/xact_end.h"

/* How many records are read between two looks at the memory. */
#define RECORDS_AT_ONCE		1024

typedef enum XactState
{
	XACT_RUNNING,				/* WAL has no end of it, so far */
	XACT_COMMITTED,
	XACT_ABORTED
} XactState;

/* A transaction, or subtransaction, that has made or ended a version. */
typedef struct Xact
{
	TransactionId xid;
	TransactionId top_xid;		/* once it has ended */
	XactState	state;
	TimestampTz ended_at;
} Xact;

/* Its number in the array; an ID that is used again gets another. */
typedef struct XactNumber
{
	TransactionId xid;			/* hash key */
	uint32		number;
} XactNumber;

#define NO_XACT				PG_UINT32_MAX

typedef struct FileNumber
{
	RelFileLocator locator;		/* hash key */
	int			number;
} FileNumber;

typedef struct PageKey
{
	int32		file;
	BlockNumber blkno;
} PageKey;

/* A set of line pointers. */
#define OFFSET_BYTES		(MaxHeapTuplesPerPage / BITS_PER_BYTE + 1)

typedef struct OffsetSet
{
	uint8		bits[OFFSET_BYTES];
} OffsetSet;

/* A page on which versions were made or ended. */
typedef struct TouchedPage
{
	PageKey		key;			/* hash key */
	int			num_wanted;
	OffsetSet	wanted;			/* versions that have to be read */
	OffsetSet	known;			/* versions that have been read */
} TouchedPage;

/* What happens at a place, and what can be read there. */
typedef enum EventKind
{
	EVENT_MADE,
	EVENT_ENDED,
	EVENT_REVOKED,
	EVENT_TUPLE					/* the version is read out of its page */
} EventKind;

typedef struct Event
{
	uint32		file;
	BlockNumber blkno;
	OffsetNumber offnum;
	uint64		seq;			/* its number among all events */
	EventKind	kind;
	uint32		xact;			/* number of the transaction */
	XLogRecPtr	lsn;			/* end LSN of the record */
	const char *data;			/* the tuple, perhaps not aligned */
	Size		size;
	bytea	   *owner;			/* what data points into, palloc'd */
} Event;

/*
 * How an event is sorted: as bytes, so what it is sorted by comes first, with
 * the highest byte first.  The tuple follows.
 */
#define EVENT_SIZE			(3 * sizeof(uint32) + 2 * sizeof(uint64) + \
							 sizeof(uint16) + sizeof(uint8))

/*
 * A truncation by a transaction of a file that it has made itself: TRUNCATE
 * does not replace that by another one.  It ends the versions that are there.
 */
typedef struct Cut
{
	int			file;
	BlockNumber first_block;
	uint32		xact;
	XLogRecPtr	lsn;
	uint64		seq;
} Cut;

/* The version at the place that is looked at. */
typedef struct OpenVersion
{
	bool		is_open;
	Event		place;			/* file, blkno, and offnum count */
	uint64		first_seq;
	uint32		made_by;		/* or NO_XACT, if before the range */
	XLogRecPtr	made_lsn;
	uint32		ended_by;		/* or NO_XACT */
	XLogRecPtr	ended_lsn;
	Size		tuple_size;		/* 0 if the tuple is not known */
} OpenVersion;

struct WalredoVersions
{
	MemoryContext context;		/* of what is counted by check_memory() */
	MemoryContext page_context; /* of pages, below that */
	WalredoVersionsFile *files;
	int			nfiles;
	WalredoTag *tags;
	uint64	   *first_seqs;		/* events of a file before that do not count */
	HTAB	   *file_numbers;	/* of FileNumbers */
	bool		of_server;
	XLogRecPtr	start_lsn;
	XLogRecPtr	read_from;
	XLogRecPtr	read_to;
	WalredoRebuild *rebuild;
	HTAB	   *pages;			/* of TouchedPages */
	HTAB	   *xact_numbers;	/* of XactNumbers */
	Xact	   *xacts;
	uint32		nxacts;
	uint32		max_xacts;
	Cut		   *cuts;
	int			ncuts;
	int			max_cuts;
	Tuplesortstate *sort;
	uint64		nevents;

	/* For walredo_versions_next(). */
	WalredoChunks *chunks;		/* NULL if there are no TOAST tables */
	bool		has_next;
	Event		next;			/* has been read, but not been used */
	OpenVersion open;
	PGAlignedBlock tuple;
	WalredoUnknownTuples unknown;
};

static HTAB *
make_hash(const char *name, Size keysize, Size entrysize,
		  MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
make_pages(WalredoVersions *versions)
{
	versions->pages = make_hash("walredo touched pages", sizeof(PageKey),
								sizeof(TouchedPage), versions->page_context);
}

/* The number of the file of a relation, or -1. */
static int
find_file(WalredoVersions *versions, const RelFileLocator *locator)
{
	FileNumber *file = hash_search(versions->file_numbers, locator, HASH_FIND,
								   NULL);

	return file == NULL ? -1 : file->number;
}

static inline bool
set_has(const OffsetSet *set, OffsetNumber offnum)
{
	return (set->bits[offnum / BITS_PER_BYTE] &
			(1 << (offnum % BITS_PER_BYTE))) != 0;
}

static inline void
set_add(OffsetSet *set, OffsetNumber offnum)
{
	set->bits[offnum / BITS_PER_BYTE] |= 1 << (offnum % BITS_PER_BYTE);
}

static inline void
set_remove(OffsetSet *set, OffsetNumber offnum)
{
	set->bits[offnum / BITS_PER_BYTE] &= ~(1 << (offnum % BITS_PER_BYTE));
}

/* ----------------------------------------
 * Transactions
 * ----------------------------------------
 */

/* The number of the transaction with an ID, which is running. */
static uint32
xact_number(WalredoVersions *versions, TransactionId xid)
{
	XactNumber *entry;
	bool		found;
	Xact	   *xact;

	if (!TransactionIdIsNormal(xid))
		return NO_XACT;
	entry = hash_search(versions->xact_numbers, &xid, HASH_ENTER, &found);
	if (found && versions->xacts[entry->number].state == XACT_RUNNING)
		return entry->number;

	if (versions->nxacts == versions->max_xacts)
	{
		versions->max_xacts = Max(64, versions->max_xacts * 2);
		versions->xacts = versions->xacts == NULL ?
			MemoryContextAlloc(versions->context,
							   versions->max_xacts * sizeof(Xact)) :
			repalloc_huge(versions->xacts,
						  versions->max_xacts * sizeof(Xact));
	}
	entry->number = versions->nxacts++;
	xact = &versions->xacts[entry->number];
	memset(xact, 0, sizeof(Xact));
	xact->xid = xact->top_xid = xid;
	return entry->number;
}

/* The transaction with an ID that WAL has last had, or NULL. */
static Xact *
find_xact(WalredoVersions *versions, TransactionId xid)
{
	XactNumber *entry = hash_search(versions->xact_numbers, &xid, HASH_FIND,
									NULL);

	return entry == NULL ? NULL : &versions->xacts[entry->number];
}

static bool
is_committed(const WalredoVersions *versions, uint32 number)
{
	return number != NO_XACT &&
		versions->xacts[number].state == XACT_COMMITTED;
}

static void
end_xact(WalredoVersions *versions, TransactionId xid, TransactionId top_xid,
		 const XactEnd *end)
{
	Xact	   *xact = find_xact(versions, xid);

	/* A subtransaction that was rolled back has ended before the others. */
	if (xact == NULL || xact->state != XACT_RUNNING)
		return;
	xact->top_xid = top_xid;
	xact->state = end->is_commit ? XACT_COMMITTED : XACT_ABORTED;
	xact->ended_at = end->xact_time;
}

static void
add_xact_end(WalredoVersions *versions, const XLogRecord *record,
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
		end_xact(versions, walredo_xact_end_xid(&end, record, i), top_xid,
				 &end);
	}
}

/* ----------------------------------------
 * Events
 * ----------------------------------------
 */

static char *
put_bytes(char *dst, const void *src, Size size)
{
	memcpy(dst, src, size);
	return dst + size;
}

static const char *
get_bytes(void *dst, const char *src, Size size)
{
	memcpy(dst, src, size);
	return src + size;
}

/* Adds an event to the sort.  Its number is that of the next one. */
static void
put_event(WalredoVersions *versions, const Event *event)
{
	Size		size = VARHDRSZ + EVENT_SIZE + event->size;
	bytea	   *value = palloc(size);
	uint32		file = pg_hton32(event->file);
	uint32		blkno = pg_hton32(event->blkno);
	uint16		offnum = pg_hton16(event->offnum);
	uint64		seq = pg_hton64(versions->nevents);
	uint8		kind = event->kind;
	char	   *ptr = VARDATA(value);

	SET_VARSIZE(value, size);
	ptr = put_bytes(ptr, &file, sizeof(file));
	ptr = put_bytes(ptr, &blkno, sizeof(blkno));
	ptr = put_bytes(ptr, &offnum, sizeof(offnum));
	ptr = put_bytes(ptr, &seq, sizeof(seq));
	ptr = put_bytes(ptr, &kind, sizeof(kind));
	ptr = put_bytes(ptr, &event->xact, sizeof(event->xact));
	ptr = put_bytes(ptr, &event->lsn, sizeof(event->lsn));
	if (event->size > 0)
		memcpy(ptr, event->data, event->size);
	tuplesort_putdatum(versions->sort, PointerGetDatum(value), false);
	pfree(value);
	versions->nevents++;
}

/* Gets the next event in the order of places.  The caller frees its owner. */
static bool
get_event(WalredoVersions *versions, Event *event)
{
	Datum		datum;
	bool		is_null;
	uint8		kind;
	const char *ptr;

	if (versions->has_next)
	{
		*event = versions->next;
		versions->has_next = false;
		return true;
	}
	if (!walredo_tuplesort_getdatum(versions->sort, &datum, &is_null))
		return false;
	event->owner = DatumGetByteaPP(datum);
	ptr = VARDATA_ANY(event->owner);
	ptr = get_bytes(&event->file, ptr, sizeof(event->file));
	ptr = get_bytes(&event->blkno, ptr, sizeof(event->blkno));
	ptr = get_bytes(&event->offnum, ptr, sizeof(event->offnum));
	ptr = get_bytes(&event->seq, ptr, sizeof(event->seq));
	ptr = get_bytes(&kind, ptr, sizeof(kind));
	ptr = get_bytes(&event->xact, ptr, sizeof(event->xact));
	ptr = get_bytes(&event->lsn, ptr, sizeof(event->lsn));
	event->file = pg_ntoh32(event->file);
	event->blkno = pg_ntoh32(event->blkno);
	event->offnum = pg_ntoh16(event->offnum);
	event->seq = pg_ntoh64(event->seq);
	event->kind = kind;
	event->data = ptr;
	event->size = VARSIZE_ANY_EXHDR(event->owner) - EVENT_SIZE;
	return true;
}

/* ----------------------------------------
 * Reading versions out of their pages
 * ----------------------------------------
 */

static WalredoTag
tag_of_page(WalredoVersions *versions, const TouchedPage *page)
{
	WalredoTag	tag = versions->tags[page->key.file];

	tag.number = page->key.blkno;
	return tag;
}

/* Keeps a sentence that says why a tuple is not known, if it is the first. */
static void
note_problem(WalredoVersions *versions, const WalredoTag *tag,
			 const char *problem)
{
	if (versions->unknown.problem == NULL)
		versions->unknown.problem =
			MemoryContextStrdup(versions->context,
								psprintf("%s: %s",
										 walredo_tag_to_cstring(tag), problem));
}

/* Reads the versions that are wanted of a page out of its image. */
static void
read_image(WalredoVersions *versions, TouchedPage *page, const char *image)
{
	WalredoTag	tag = tag_of_page(versions, page);
	PGAlignedBlock copy;
	OffsetNumber max_offnum;
	const char *problem = NULL;

	memcpy(copy.data, image, BLCKSZ);
	if (!walredo_check_heap_page(copy.data, &max_offnum, &problem))
	{
		note_problem(versions, &tag, problem);
		return;
	}
	for (OffsetNumber i = FirstOffsetNumber; i <= MaxHeapTuplesPerPage; i++)
	{
		Event		event = {page->key.file, page->key.blkno, i};
		HeapTupleHeader tuple;
		Size		size;

		if (!set_has(&page->wanted, i))
			continue;
		tuple = i > max_offnum ? NULL :
			walredo_heap_tuple(copy.data, i, &size, &problem);
		if (tuple == NULL)
		{
			note_problem(versions, &tag, i <= max_offnum && problem != NULL ?
						 problem :
						 psprintf("There is no tuple at line pointer %u.", i));
			continue;
		}
		event.kind = EVENT_TUPLE;
		event.xact = NO_XACT;
		event.data = (char *) tuple;
		event.size = size;
		put_event(versions, &event);
		set_add(&page->known, i);
	}
}

/* Nothing more has to be read of a page. */
static void
forget_wanted(TouchedPage *page)
{
	memset(&page->wanted, 0, sizeof(OffsetSet));
	page->num_wanted = 0;
}

/* The argument of get_page(). */
typedef struct GetPage
{
	WalredoRebuild *rebuild;
	WalredoTag	tag;
	WalredoRebuiltPage page;
} GetPage;

static void
get_page(void *arg)
{
	GetPage    *get = arg;

	walredo_rebuild_get(get->rebuild, &get->tag, &get->page);
}

/* Why a page that has been rebuilt has no image. */
static const char *
why_no_image(WalredoVersions *versions, const WalredoRebuiltPage *page)
{
	const char *problem = walredo_rebuilt_page_problem(page);

	if (problem != NULL)
		return problem;
	return psprintf("WAL from %X/%X on changes the page, but does not initialize it or have an image of it before.",
					LSN_FORMAT_ARGS(versions->read_from));
}

/*
 * Gets a page as it is after all records that were added.  Returns false if it
 * is not known.
 */
static bool
read_rebuilt(WalredoVersions *versions, TouchedPage *page,
			 WalredoRebuiltPage *result)
{
	GetPage		get = {versions->rebuild, tag_of_page(versions, page)};
	ErrorData  *error = walredo_attempt(get_page, &get);

	if (error != NULL)
	{
		note_problem(versions, &get.tag, error->message);
		FreeErrorData(error);
		memset(result, 0, sizeof(*result));
		return false;
	}
	*result = get.page;
	if (result->image == NULL)
		return false;
	read_image(versions, page, VARDATA(result->image));
	pfree(result->image);
	return true;
}

/*
 * Reads the versions that are wanted of a page, as a record may remove some of
 * them that is about to be added.
 */
static void
read_page(WalredoVersions *versions, TouchedPage *page)
{
	WalredoRebuiltPage rebuilt;
	WalredoTag	tag = tag_of_page(versions, page);

	if (page->num_wanted == 0)
		return;
	if (!read_rebuilt(versions, page, &rebuilt))
		note_problem(versions, &tag, why_no_image(versions, &rebuilt));
	forget_wanted(page);
}

/* The same for all pages of a file from a block on, or of all files for -1. */
static void
read_pages(WalredoVersions *versions, int file, BlockNumber first_block)
{
	HASH_SEQ_STATUS status;
	TouchedPage *page;

	hash_seq_init(&status, versions->pages);
	while ((page = hash_seq_search(&status)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (file < 0 ||
			(page->key.file == file && page->key.blkno >= first_block))
			read_page(versions, page);
	}
}

/*
 * Forgets what there has been in a file, which is another one now, or gone.
 */
static void
begin_file(WalredoVersions *versions, int i, const WalredoPageChange *change,
		   XLogRecPtr end_lsn)
{
	HASH_SEQ_STATUS status;
	TouchedPage *page;

	versions->first_seqs[i] = versions->nevents;
	if (end_lsn > versions->start_lsn)
	{
		versions->files[i].how_begun = change->end;
		versions->files[i].begin_lsn = end_lsn;
	}
	hash_seq_init(&status, versions->pages);
	while ((page = hash_seq_search(&status)) != NULL)
	{
		if (page->key.file == i)
		{
			forget_wanted(page);
			memset(&page->known, 0, sizeof(OffsetSet));
		}
	}
}

/* A file is truncated. */
static void
cut_file(WalredoVersions *versions, int i, const WalredoPageChange *change,
		 const XLogRecord *record, XLogRecPtr end_lsn)
{
	BlockNumber first_block = (BlockNumber) change->tag.number;
	Cut		   *cut;

	read_pages(versions, i, first_block);

	/* VACUUM, which has no transaction ID, cuts off what is empty. */
	if (end_lsn <= versions->start_lsn ||
		!TransactionIdIsNormal(record->xl_xid))
		return;
	if (versions->ncuts == versions->max_cuts)
	{
		versions->max_cuts = Max(16, versions->max_cuts * 2);
		versions->cuts = versions->cuts == NULL ?
			MemoryContextAlloc(versions->context,
							   versions->max_cuts * sizeof(Cut)) :
			repalloc_huge(versions->cuts, versions->max_cuts * sizeof(Cut));
	}
	cut = &versions->cuts[versions->ncuts++];
	cut->file = i;
	cut->first_block = first_block;
	cut->xact = xact_number(versions, record->xl_xid);
	cut->lsn = end_lsn;
	cut->seq = versions->nevents++;
}

/* ----------------------------------------
 * Reading WAL
 * ----------------------------------------
 */

/* Says whether the tuple at a line pointer has to be read. */
static void
want_tuple(TouchedPage *page, OffsetNumber offnum, bool is_wanted)
{
	if (set_has(&page->wanted, offnum) == is_wanted)
		return;
	if (is_wanted)
		set_add(&page->wanted, offnum);
	else
		set_remove(&page->wanted, offnum);
	page->num_wanted += is_wanted ? 1 : -1;
}

/* Takes what a record does to tuples. */
static void
add_tuple_events(WalredoVersions *versions, const XLogRecord *record,
				 XLogRecPtr end_lsn)
{
	WalredoTupleEvent events[WALREDO_MAX_TUPLE_EVENTS];
	int			nevents = walredo_tuple_events_of(record, end_lsn, events);

	for (int i = 0; i < nevents; i++)
	{
		const WalredoTupleEvent *what = &events[i];
		Event		event = {0};
		PageKey		key;
		TouchedPage *page;
		bool		found;

		key.file = find_file(versions, &what->locator);
		key.blkno = what->blkno;
		if (key.file < 0)
			continue;

		/*
		 * Rows that are made in the range can refer to chunks of before it,
		 * but not to chunks that have been deleted.
		 */
		if (OidIsValid(versions->files[key.file].toast_relid) ?
			what->kind != WALREDO_TUPLE_MADE : end_lsn <= versions->start_lsn)
			continue;
		event.file = key.file;
		event.blkno = what->blkno;
		event.offnum = what->offnum;
		event.xact = xact_number(versions, record->xl_xid);
		event.lsn = end_lsn;
		page = hash_search(versions->pages, &key, HASH_ENTER, &found);
		if (!found)
			memset((char *) page + sizeof(PageKey), 0,
				   sizeof(TouchedPage) - sizeof(PageKey));
		switch (what->kind)
		{
			case WALREDO_TUPLE_MADE:
				event.kind = EVENT_MADE;
				set_remove(&page->known, what->offnum);
				break;
			case WALREDO_TUPLE_ENDED:
				event.kind = EVENT_ENDED;
				break;
			case WALREDO_TUPLE_REVOKED:
				event.kind = EVENT_REVOKED;
				break;
		}
		put_event(versions, &event);
		want_tuple(page, what->offnum, what->kind != WALREDO_TUPLE_REVOKED &&
				   !set_has(&page->known, what->offnum));
	}
}

/* Takes all that a record does. */
static void
add_record(WalredoVersions *versions, WalredoChanges *changes,
		   const XLogRecord *record, XLogRecPtr end_lsn)
{
	bool		keeps_tuples;
	WalredoPageChange *list;
	int			n;

	if (record->xl_rmid == RM_XACT_ID)
		add_xact_end(versions, record, end_lsn);
	n = walredo_changes_of(changes, record, end_lsn, &list);
	if (n == 0)
		return;
	keeps_tuples = walredo_record_keeps_tuples(record);
	for (int i = 0; i < n; i++)
	{
		const WalredoPageChange *change = &list[i];
		RelFileLocator locator = walredo_tag_locator(&change->tag);
		int			file = find_file(versions, &locator);

		if (file >= 0 && change->what == WALREDO_CHANGE_END)
		{
			if (change->end == WALREDO_TRUNCATED)
				cut_file(versions, file, change, record, end_lsn);
			else
				begin_file(versions, file, change, end_lsn);
		}
		else if (file >= 0 && !keeps_tuples)
		{
			PageKey		key = {file, (BlockNumber) change->tag.number};
			TouchedPage *page = hash_search(versions->pages, &key, HASH_FIND,
											NULL);

			if (page != NULL)
				read_page(versions, page);
		}
		walredo_rebuild_add(versions->rebuild, change, record, end_lsn);
	}
	add_tuple_events(versions, record, end_lsn);
}

/*
 * Pages can be read at any time, so that nothing needs to be kept of them.
 * ERROR if the transactions alone take too much memory.
 */
static void
check_memory(WalredoVersions *versions, XLogRecPtr end_lsn)
{
	Size		max_size = (Size) maintenance_work_mem * 1024 / 2;

	if (MemoryContextMemAllocated(versions->context, true) <= max_size)
		return;
	read_pages(versions, -1, 0);
	MemoryContextReset(versions->page_context);
	make_pages(versions);
	if (MemoryContextMemAllocated(versions->context, true) > max_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("transactions up to %X/%X take more memory than half of maintenance_work_mem",
						LSN_FORMAT_ARGS(end_lsn)),
				 errhint("Specify a shorter range of WAL, or increase maintenance_work_mem.")));
}

static void
read_wal(WalredoVersions *versions, WalredoReader *reader)
{
	WalredoPageFilter *filter = walredo_filter_forks(versions->tags,
													 versions->nfiles, false);
	WalredoChanges *changes = walredo_changes_create(filter);
	MemoryContext record_context =
		AllocSetContextCreate(CurrentMemoryContext, "walredo row versions record",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = CurrentMemoryContext;
	uint64		nrecords = 0;

	while (walredo_reader_next(reader))
	{
		XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(record_context);
		add_record(versions, changes, walredo_reader_record(reader), end_lsn);
		if (++nrecords % RECORDS_AT_ONCE == 0)
		{
			walredo_rebuild_advance(versions->rebuild, end_lsn);
			check_memory(versions, end_lsn);
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(record_context);
	}
	versions->read_to = walredo_reader_end_lsn(reader);
	walredo_changes_free(changes);
	walredo_filter_free(filter);
	MemoryContextDelete(record_context);
}

/* ----------------------------------------
 * The end of WAL
 * ----------------------------------------
 */

/* A page that cannot be rebuilt. */
typedef struct LostPage
{
	TouchedPage *page;
	WalredoRebuiltPage rebuilt;
} LostPage;

/*
 * Reads the versions that are wanted of a file's pages.  Returns a list of
 * LostPages, in the order of blocks.
 */
static List *
read_file(WalredoVersions *versions, int file)
{
	List	   *lost = NIL;
	WalredoTag	tag;
	WalredoRebuiltPage rebuilt;

	walredo_rebuild_begin_fork(versions->rebuild, &versions->tags[file]);
	while (walredo_rebuild_next(versions->rebuild, &tag, &rebuilt))
	{
		PageKey		key = {file, (BlockNumber) tag.number};
		TouchedPage *page = hash_search(versions->pages, &key, HASH_FIND,
										NULL);
		bool		is_read;

		CHECK_FOR_INTERRUPTS();
		if (page == NULL || page->num_wanted == 0)
			continue;
		if (rebuilt.is_waiting)
			is_read = read_rebuilt(versions, page, &rebuilt);
		else
		{
			is_read = rebuilt.image != NULL;
			if (is_read)
				read_image(versions, page, VARDATA(rebuilt.image));
		}
		if (is_read)
			forget_wanted(page);
		else
		{
			LostPage   *lost_page = palloc(sizeof(LostPage));

			lost_page->page = page;
			lost_page->rebuilt = rebuilt;
			lost = lappend(lost, lost_page);
		}
	}
	return lost;
}

/*
 * Reads what is left of the pages.  Where WAL does not have a page, the server
 * may have it as it was at the end of the range.
 */
static void
read_rest(WalredoVersions *versions, WalredoReader *reader,
		  const char *directory)
{
	WalredoCurrent *current = NULL;

	for (int i = 0; i < versions->nfiles; i++)
	{
		List	   *lost = read_file(versions, i);
		ListCell   *lc;

		if (lost != NIL && current == NULL)
			current = walredo_current_begin(versions->tags, versions->nfiles,
											false, directory, reader,
											versions->read_to);
		foreach(lc, lost)
		{
			LostPage   *lost_page = lfirst(lc);
			TouchedPage *page = lost_page->page;
			WalredoTag	tag = tag_of_page(versions, page);
			bytea	   *image = NULL;

			if (current != NULL)
				image = walredo_current_page(current, i, page->key.blkno);

			/* It must not lack changes that WAL has. */
			if (image != NULL && PageGetLSN((Page) VARDATA(image)) >=
				lost_page->rebuilt.last_lsn)
				read_image(versions, page, VARDATA(image));
			else
				note_problem(versions, &tag,
							 why_no_image(versions, &lost_page->rebuilt));
		}
		list_free_deep(lost);
	}
}

/* Prepares to fetch values, for which WAL has been read. */
static void
begin_toast(WalredoVersions *versions, const char *directory)
{
	WalredoHeapFile *files = palloc0(Max(versions->nfiles, 1) *
									 sizeof(WalredoHeapFile));
	int			n = 0;

	while (n < versions->nfiles && OidIsValid(versions->files[n].toast_relid))
	{
		files[n].tag = versions->tags[n];
		files[n].relid = versions->files[n].toast_relid;
		n++;
	}
	if (n > 0)
		versions->chunks =
			walredo_chunks_create(files, n, directory,
								  Max(versions->start_lsn,
									  versions->read_from));
}

WalredoVersions *
walredo_versions_begin(WalredoVersionsFile *files, int nfiles,
					   const char *directory, XLogRecPtr start_lsn,
					   XLogRecPtr end_lsn)
{
	WalredoVersions *versions = palloc0(sizeof(WalredoVersions));
	WalredoReader *reader;

	versions->files = files;
	versions->nfiles = nfiles;
	versions->context = AllocSetContextCreate(CurrentMemoryContext,
											  "walredo row versions",
											  ALLOCSET_DEFAULT_SIZES);
	versions->page_context = AllocSetContextCreate(versions->context,
												   "walredo touched pages",
												   ALLOCSET_DEFAULT_SIZES);
	versions->tags = palloc(Max(nfiles, 1) * sizeof(WalredoTag));
	versions->first_seqs = palloc0(Max(nfiles, 1) * sizeof(uint64));
	versions->file_numbers = make_hash("walredo file numbers",
									   sizeof(RelFileLocator),
									   sizeof(FileNumber),
									   CurrentMemoryContext);
	versions->xact_numbers = make_hash("walredo transactions",
									   sizeof(TransactionId),
									   sizeof(XactNumber), versions->context);
	make_pages(versions);
	for (int i = 0; i < nfiles; i++)
	{
		RelFileLocator locator = walredo_tag_locator(&files[i].tag);
		FileNumber *file = hash_search(versions->file_numbers, &locator,
									   HASH_ENTER, NULL);

		file->number = i;
		versions->tags[i] = files[i].tag;
		versions->tags[i].number = 0;
		files[i].how_begun = WALREDO_NOT_ENDED;
		files[i].begin_lsn = InvalidXLogRecPtr;
	}

	/* This raises the errors about the range. */
	walredo_reader_end(walredo_reader_begin(directory, start_lsn, end_lsn));

	reader = walredo_reader_begin(directory, WALREDO_START_OF_WAL, end_lsn);
	versions->of_server = walredo_reader_is_of_server(reader);
	versions->start_lsn = start_lsn;
	versions->read_from = walredo_find_redo_point(reader, start_lsn);
	walredo_reader_begin_again(reader, versions->read_from);
	if (start_lsn != WALREDO_START_OF_WAL &&
		walredo_reader_first_lsn(reader) > start_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL does not reach back to %X/%X any more",
						LSN_FORMAT_ARGS(start_lsn)),
				 errdetail("WAL begins at %X/%X.",
						   LSN_FORMAT_ARGS(walredo_reader_first_lsn(reader)))));

	versions->rebuild = walredo_rebuild_create();
	versions->sort = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator,
										   InvalidOid, false,
										   maintenance_work_mem / 2, NULL,
										   TUPLESORT_NONE);
	read_wal(versions, reader);
	read_rest(versions, reader, directory);
	walredo_reader_end(reader);
	walredo_rebuild_free(versions->rebuild);
	MemoryContextDelete(versions->page_context);
	tuplesort_performsort(versions->sort);
	begin_toast(versions, directory);
	return versions;
}

XLogRecPtr
walredo_versions_end_lsn(const WalredoVersions *versions)
{
	return versions->read_to;
}

void
walredo_versions_end(WalredoVersions *versions)
{
	tuplesort_end(versions->sort);
	if (versions->chunks != NULL)
		walredo_chunks_end(versions->chunks);
	MemoryContextDelete(versions->context);
}

/* ----------------------------------------
 * Versions
 * ----------------------------------------
 */

/*
 * When a transaction, of which WAL has no end, has committed, as far as the
 * server knows.
 */
static bool
server_commit_time(const WalredoVersions *versions, TransactionId xid,
				   TimestampTz *time)
{
	/* In recovery, the setting that counts is that of the primary. */
	return versions->of_server && track_commit_timestamp &&
		!RecoveryInProgress() && TransactionIdIsNormal(xid) &&
		TransactionIdGetCommitTsData(xid, time, NULL);
}

/*
 * Who has made a version, according to its tuple.  The ID of one that has been
 * frozen may be that of another transaction by now.
 */
static void
set_inserter(WalredoVersions *versions, WalredoRowVersion *version)
{
	Xact	   *xact;

	version->xmin = HeapTupleHeaderGetRawXmin(version->tuple);
	if (HeapTupleHeaderXminFrozen(version->tuple))
		return;
	xact = find_xact(versions, version->xmin);
	if (xact != NULL && xact->state == XACT_COMMITTED)
	{
		version->xmin = xact->top_xid;
		version->has_inserted_at = true;
		version->inserted_at = xact->ended_at;
	}
	else
		version->has_inserted_at =
			server_commit_time(versions, version->xmin,
							   &version->inserted_at);
}

/* Finds the truncation that has ended the version that is open, or NULL. */
static const Cut *
find_cut(const WalredoVersions *versions, uint64 next_seq)
{
	const OpenVersion *open = &versions->open;

	for (int i = 0; i < versions->ncuts; i++)
	{
		const Cut  *cut = &versions->cuts[i];

		if (cut->file == open->place.file &&
			cut->first_block <= open->place.blkno &&
			cut->seq > open->first_seq && cut->seq < next_seq &&
			is_committed(versions, cut->xact))
			return cut;
	}
	return NULL;
}

/* Keeps the chunk that is open, if its transaction has committed. */
static void
keep_chunk(WalredoVersions *versions)
{
	OpenVersion *open = &versions->open;
	const char *problem;

	if (!is_committed(versions, open->made_by) || open->tuple_size == 0)
		return;
	if (!walredo_chunks_add(versions->chunks, open->place.file,
							(HeapTupleHeader) versions->tuple.data,
							open->tuple_size, open->made_lsn,
							&problem))
	{
		WalredoTag	tag = versions->tags[open->place.file];

		tag.number = open->place.blkno;
		note_problem(versions, &tag, problem);
	}
}

/*
 * Closes the version that is open.  next_seq is the number of the event that
 * begins another one at this place.  Returns whether the version counts.
 */
static bool
close_version(WalredoVersions *versions, uint64 next_seq,
			  WalredoRowVersion *version)
{
	OpenVersion *open = &versions->open;
	bool		is_made = open->made_by != NO_XACT;

	open->is_open = false;
	if (OidIsValid(versions->files[open->place.file].toast_relid))
	{
		keep_chunk(versions);
		return false;
	}
	if (open->made_lsn != InvalidXLogRecPtr &&
		!is_committed(versions, open->made_by))
		return false;
	if (!is_committed(versions, open->ended_by))
	{
		const Cut  *cut = find_cut(versions, next_seq);

		open->ended_by = cut == NULL ? NO_XACT : cut->xact;
		open->ended_lsn = cut == NULL ? InvalidXLogRecPtr : cut->lsn;
	}
	if (!is_made && open->ended_by == NO_XACT)
		return false;

	memset(version, 0, sizeof(*version));
	version->file = open->place.file;
	ItemPointerSet(&version->ctid, open->place.blkno, open->place.offnum);
	if (open->tuple_size > 0)
	{
		version->tuple = (HeapTupleHeader) versions->tuple.data;
		version->tuple_size = open->tuple_size;
	}
	else
		versions->unknown.num++;
	if (is_made)
	{
		const Xact *xact = &versions->xacts[open->made_by];

		version->xmin = xact->top_xid;
		version->has_inserted_at = true;
		version->inserted_at = xact->ended_at;
		version->insert_lsn = open->made_lsn;
	}
	else if (version->tuple != NULL)
		set_inserter(versions, version);
	if (open->ended_by != NO_XACT)
	{
		const Xact *xact = &versions->xacts[open->ended_by];

		version->xmax = xact->top_xid;
		version->has_deleted_at = true;
		version->deleted_at = xact->ended_at;
		version->delete_lsn = open->ended_lsn;
	}
	return true;
}

/* Opens the version that an event is the first of. */
static void
open_version(WalredoVersions *versions, const Event *event)
{
	OpenVersion *open = &versions->open;

	memset(open, 0, sizeof(*open));
	open->is_open = true;
	open->place = *event;
	open->place.owner = NULL;
	open->place.data = NULL;
	open->first_seq = event->seq;
	open->made_by = open->ended_by = NO_XACT;
}

/* Takes an event of the version that is open. */
static void
add_to_version(WalredoVersions *versions, const Event *event)
{
	OpenVersion *open = &versions->open;

	switch (event->kind)
	{
		case EVENT_MADE:
			open->made_by = event->xact;
			open->made_lsn = event->lsn;
			break;
		case EVENT_ENDED:
			open->ended_by = event->xact;
			open->ended_lsn = event->lsn;
			break;
		case EVENT_REVOKED:
			open->is_open = false;
			break;
		case EVENT_TUPLE:
			Assert(event->size <= BLCKSZ);
			memcpy(versions->tuple.data, event->data, event->size);
			open->tuple_size = event->size;
			break;
	}
}

static bool
same_place(const Event *a, const Event *b)
{
	return a->file == b->file && a->blkno == b->blkno && a->offnum == b->offnum;
}

bool
walredo_versions_next(WalredoVersions *versions, WalredoRowVersion *version)
{
	Event		event;

	while (get_event(versions, &event))
	{
		OpenVersion *open = &versions->open;

		CHECK_FOR_INTERRUPTS();
		if (event.seq < versions->first_seqs[event.file])
		{
			pfree(event.owner);
			continue;
		}
		if (open->is_open && (event.kind == EVENT_MADE ||
							  !same_place(&open->place, &event)))
		{
			uint64		next_seq = same_place(&open->place, &event) ?
				event.seq : PG_UINT64_MAX;

			if (close_version(versions, next_seq, version))
			{
				versions->next = event;
				versions->has_next = true;
				return true;
			}
		}
		if (!open->is_open)
			open_version(versions, &event);
		add_to_version(versions, &event);
		pfree(event.owner);
	}
	return versions->open.is_open &&
		close_version(versions, PG_UINT64_MAX, version);
}

bytea *
walredo_versions_fetch(WalredoVersions *versions,
					   const WalredoRowVersion *version, int toast_file,
					   const struct varatt_external *pointer,
					   const char **problem)
{
	XLogRecPtr	lsn = version->insert_lsn != InvalidXLogRecPtr ?
		version->insert_lsn : versions->start_lsn;

	return walredo_chunks_fetch(versions->chunks, toast_file, pointer,
								lsn, problem);
}

void
walredo_versions_unknown(const WalredoVersions *versions,
						 WalredoUnknownTuples *unknown)
{
	*unknown = versions->unknown;
	if (unknown->problem == NULL)
		unknown->problem = "WAL has no record of the page.";
}
