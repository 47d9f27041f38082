/*-------------------------------------------------------------------------
 *
 * redo.c
 *	  Replay of records on one page, inside the wal-redo child.
 *
 * Redo routines find pages through the buffer manager, by relation and block.
 * To have one replay a record on the page that a request gave us, the page has
 * to be in the buffer pool under the address that the record names, and so do
 * all other pages that the routine will ask for; none of them has a file.
 *
 * Scratch relations.  A record is replayed as if it were about one of a few
 * scratch relations, block numbers kept: the address is rewritten in the
 * decoded record.  Their files are made before the sandbox closes and stay
 * empty.  In recovery the storage manager relies on its cache of relation
 * sizes.  That is set to the largest possible size for each fork, so redo
 * never extends or reads a file, or asks for its size.  No redo routine stores
 * a relation number in a page.
 *
 * Dummies.  A block of the record that is not the target gets a dummy: an
 * empty page whose LSN is above any real one.  Redo finds a valid page that
 * seems to have the change already, and leaves it alone.  If it found no page
 * at all, some routines would take wrong turns (BRIN asks the absent buffer
 * for its block number).  A full-page image of such a block is restored all
 * the same, since GIN's page split insists on it, and a will-init block is
 * made anew.  Then the page is not a dummy any more, which install_dummy() sees
 * by its LSN when a record names it again, and makes it one.
 *
 * Resource managers that are not the server's own.  No library of theirs is
 * loaded here.  But a full-page image is restored in the same way by all of
 * them, so that much is done of a record whose resource manager is not known.
 *
 * Pages that a record does not name.  Redo of heap records clears bits in the
 * visibility map, and notes free space in the free space map, of pages whose
 * numbers follow from the heap block's.  These pages, which are called the
 * companions of the heap block here, must be in the pool, too.  Nothing ever
 * depends on what is in them.
 *
 * The pool is small and pages stay in it from record to record and from
 * request to request.  None may be evicted, for that would be a write, which
 * the sandbox does not allow.  So before it could come to that, all of them
 * are dropped, and what is needed is made anew.
 *
 * No buffer stays pinned between records: pruning takes a cleanup lock, and
 * would wait for ever.  Pages are looked at and changed here without a pin,
 * which is safe where no other process exists.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/redo.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/gist.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/spgist_private.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogrecord.h"
#include "access/xlogutils.h"
#include "catalog/pg_tablespace_d.h"
#include "child/redo.h"
#include "common/hashfn.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "record/image.h"
#include "record/visibilitymap.h"
#include "record/xlogrecord.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fsm_internals.h"
#include "storage/smgr.h"
#include "utils/memutils.h"

/*
 * A record of the server's own names one relation.  Generic WAL, which
 * extensions use, can name as many as it has pages, which is four; and one
 * relation's init fork counts as another relation.
 */
#define NUM_SCRATCH_RELATIONS	5
#define SCRATCH_DATABASE		1
#define SCRATCH_RELATION(i)		(FirstNormalObjectId + (i))

/* The target block's relation is always this one. */
#define TARGET_RELATION			0

/* Above any LSN that a record can have. */
#define DUMMY_LSN				PG_UINT64_MAX

/*
 * The most pages that one record needs at a time: those it names, the target
 * if it should not be among them, and for each of up to two heap blocks a page
 * of the visibility map and one of the free space map.
 */
#define MAX_PAGES_PER_RECORD	(XLR_MAX_BLOCK_ID + 1 + 1 + 2 + 2)

/* As in freespace.c. */
#define FSM_TREE_DEPTH			((SlotsPerFSMPage >= 1626) ? 3 : 4)

/* Scratch relation, fork and block, packed into a hash key. */
#define PAGE_KEY(rel, fork, blkno) \
	(((uint64) (rel) << 40) | ((uint64) (fork) << 32) | (blkno))

/* A page in the buffer pool, which is found by its key. */
typedef struct CachedPage
{
	uint64		key;
	Buffer		buffer;
	char		status;
} CachedPage;

#define SH_PREFIX				pagecache
#define SH_ELEMENT_TYPE			CachedPage
#define SH_KEY_TYPE				uint64
#define SH_KEY					key
#define SH_HASH_KEY(tb, key)	murmurhash32((uint32) ((key) ^ ((key) >> 32)))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static pagecache_hash *page_cache;

static RelFileLocator scratch_locators[NUM_SCRATCH_RELATIONS];

/*
 * The relations that take the places of the scratch relations, in this
 * request (the target's) and in this record (all others).
 */
typedef struct NamedRelation
{
	RelFileLocator locator;
	bool		init_fork;		/* its init fork, replayed as a main fork */
} NamedRelation;

static NamedRelation named_relations[NUM_SCRATCH_RELATIONS];
static int	num_named_relations;

/* The block that the request is about. */
static WalredoWireTag target;
static ForkNumber target_fork;	/* the fork that it is replayed as */
static Buffer target_buffer;
static bool target_has_image;

/* The pages that install_heap_companions() installs for it are in the pool. */
static bool target_has_companions;

static XLogReaderState *reader;
static DecodedXLogRecord *decoded;
static size_t decoded_size;
static char *aligned_record;
static size_t aligned_record_size;
static MemoryContext redo_context;

/* Makes the empty files of the i-th scratch relation. */
static void
make_scratch_relation(int i)
{
	RelFileLocator *locator = &scratch_locators[i];
	SMgrRelation smgr;

	LocatorSpcOid(*locator) = DEFAULTTABLESPACE_OID;
	LocatorDbOid(*locator) = SCRATCH_DATABASE;
	LocatorRelNumber(*locator) = SCRATCH_RELATION(i);

	smgr = smgropen(*locator, INVALID_PROC_NUMBER);
	for (ForkNumber fork = MAIN_FORKNUM; fork <= VISIBILITYMAP_FORKNUM; fork++)
	{
		/* Creates the file, and leaves it open as far as md.c can tell. */
		smgrcreate(smgr, fork, false);
		smgr->smgr_cached_nblocks[fork] = MaxBlockNumber;
	}
}

void
walredo_redo_startup(void)
{
	InRecovery = true;

	for (int i = 0; i < NUM_SCRATCH_RELATIONS; i++)
		make_scratch_relation(i);

	page_cache = pagecache_create(TopMemoryContext, NBuffers, NULL);
	redo_context = AllocSetContextCreate(TopMemoryContext, "walredo redo",
										 ALLOCSET_DEFAULT_SIZES);
	reader = XLogReaderAllocate(wal_segment_size, NULL,
								XL_ROUTINE(.page_read = NULL,
										   .segment_open = NULL,
										   .segment_close = NULL), NULL);
	if (reader == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	/* What resource managers allocate here must live as long as the child. */
	MemoryContextSwitchTo(TopMemoryContext);
	RmgrStartup();
	MemoryContextSwitchTo(redo_context);
}

/*
 * Returns the buffer of a page of a scratch relation.  If the page is not in
 * the pool, it is put there, all zeroes.
 */
static Buffer
install_page(int rel, ForkNumber fork, BlockNumber blkno)
{
	CachedPage *entry;
	bool		found;

	entry = pagecache_insert(page_cache, PAGE_KEY(rel, fork, blkno), &found);
	if (!found)
	{
		entry->buffer = ReadBufferWithoutRelcache(scratch_locators[rel], fork,
												  blkno, RBM_ZERO_AND_LOCK,
												  NULL, true);
		UnlockReleaseBuffer(entry->buffer);
	}
	return entry->buffer;
}

/*
 * Like install_page(), but the page is a dummy.
 */
static Buffer
install_dummy(int rel, ForkNumber fork, BlockNumber blkno)
{
	Buffer		buffer = install_page(rel, fork, blkno);
	Page		page = BufferGetPage(buffer);

	if (PageGetLSN(page) != DUMMY_LSN)
	{
		PageInit(page, BLCKSZ, 0);
		PageSetLSN(page, DUMMY_LSN);
	}
	return buffer;
}

/*
 * Makes sure that the pool has room for all pages of the next record.  If it
 * has not, all pages are dropped but the target's.
 */
static void
reserve_pages(void)
{
	PGAlignedBlock image;

	if (page_cache->members + MAX_PAGES_PER_RECORD <= NBuffers)
		return;

	if (BufferIsValid(target_buffer))
		memcpy(image.data, BufferGetPage(target_buffer), BLCKSZ);
	DropDatabaseBuffers(SCRATCH_DATABASE);
	pagecache_reset(page_cache);
	target_has_companions = false;
	if (BufferIsValid(target_buffer))
	{
		target_buffer = install_page(TARGET_RELATION, target_fork,
									 target.blkno);
		memcpy(BufferGetPage(target_buffer), image.data, BLCKSZ);
	}
}

static bool
same_tag(const WalredoWireTag *a, const WalredoWireTag *b)
{
	return a->forknum == b->forknum && a->spcOid == b->spcOid &&
		a->dbOid == b->dbOid && a->relNumber == b->relNumber &&
		a->blkno == b->blkno;
}

/*
 * Begins a request for one block, which has no image yet.  What an earlier
 * request left in the block's buffer must not be seen any more.
 */
const char *
walredo_redo_begin(const WalredoMessage *message)
{
	const WalredoWireTag *tag = &message->tag;
	RelFileLocator *locator = &named_relations[TARGET_RELATION].locator;

	if (tag->forknum > MAX_FORKNUM || tag->blkno >= MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid block: fork %u, block %u",
						tag->forknum, tag->blkno)));

	target = *tag;
	target_buffer = InvalidBuffer;
	target_has_image = false;
	target_has_companions = false;

	LocatorSpcOid(*locator) = tag->spcOid;
	LocatorDbOid(*locator) = tag->dbOid;
	LocatorRelNumber(*locator) = tag->relNumber;

	/*
	 * Redo writes init forks to disk at once, for the end of crash recovery.
	 * As a main fork, they are treated alike in all other respects.
	 */
	named_relations[TARGET_RELATION].init_fork =
		(tag->forknum == INIT_FORKNUM);
	target_fork = tag->forknum == INIT_FORKNUM ? MAIN_FORKNUM :
		(ForkNumber) tag->forknum;

	reserve_pages();
	target_buffer = install_page(TARGET_RELATION, target_fork, tag->blkno);
	return NULL;
}

/* Gives the block its base image. */
const char *
walredo_redo_push(const WalredoMessage *message)
{
	if (!same_tag(&message->tag, &target))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("pushed page does not match the page of the request")));
	memcpy(BufferGetPage(target_buffer), message->body, BLCKSZ);
	target_has_image = true;
	return NULL;
}

/* Answers with the block's image, which must have come from somewhere. */
const char *
walredo_redo_get(const WalredoMessage *message)
{
	if (!same_tag(&message->tag, &target))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("requested page does not match the page of the request")));
	if (!target_has_image)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("requested page has no image")));
	return (const char *) BufferGetPage(target_buffer);
}

/* That there is an answer says that the child has come to its request loop. */
const char *
walredo_redo_ping(const WalredoMessage *message)
{
	static const char zeroes[BLCKSZ];

	return zeroes;
}

/* Masks a page in place as its resource manager's own rm_mask does. */
static void
mask_page(RmgrId rmid, BlockNumber blkno, char *page)
{
	if (!RmgrIdIsValid(rmid) || !RmgrIdExists(rmid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("resource manager with ID %u is not known", rmid)));

	/*
	 * A resource manager without the callback has nothing to mask, and a page
	 * that was never initialized has no contents that rm_mask could
	 * interpret.
	 */
	if (RmgrTable[rmid].rm_mask != NULL && !PageIsNew((Page) page))
		RmgrTable[rmid].rm_mask(page, blkno);

	/*
	 * An SP-GiST metapage also caches which pages were used last, and changes
	 * to that are not WAL-logged at all.  The server's own mask can ignore
	 * it, since no record but the first one of an index contains the page,
	 * and so wal_consistency_checking never compares it; we do.
	 */
	if (rmid == RM_SPGIST_ID && blkno == SPGIST_METAPAGE_BLKNO)
		memset(&SpGistPageGetMeta(page)->lastUsedPages, 0,
			   sizeof(SpGistLUPCache));

	/*
	 * Redo of GiST's deletion of dead entries sets a flag that the server
	 * itself has not set (gistprunepage()), and that no code tests.
	 */
	if (rmid == RM_GIST_ID && !PageIsNew((Page) page))
		GistPageGetOpaque((Page) page)->flags &= ~F_TUPLES_DELETED;
}

const char *
walredo_redo_mask(const WalredoMessage *message)
{
	/*
	 * The mask routines access the page as a struct, so it has to be aligned.
	 * They also follow offsets and lengths in the page without checking them,
	 * and write to where those lead.  Such a value has 16 bits at most, and
	 * the sum of the two in a line pointer has as many.  With that much room
	 * after the page, a broken page cannot make them overwrite anything else.
	 */
	static union
	{
		PGAlignedBlock page;
		char		room[BLCKSZ + 2 * (PG_UINT16_MAX + 1)];
	}			masked;

	memcpy(masked.page.data, message->body, BLCKSZ);
	mask_page(message->rmid, message->blkno, masked.page.data);
	return masked.page.data;
}

/* Error context callback: which record is replayed, and on which block. */
static void
redo_error_context(void *arg)
{
	const RmgrData *rmgr = &RmgrTable[XLogRecGetRmid(reader)];
	const char *type = NULL;

	if (RmgrIdExists(XLogRecGetRmid(reader)))
		type = rmgr->rm_identify(XLogRecGetInfo(reader) & ~XLR_INFO_MASK);
	errcontext("WAL redo at %X/%X for %s/%s on block %u of relation %u/%u/%u",
			   LSN_FORMAT_ARGS(reader->EndRecPtr),
			   rmgr->rm_name ? rmgr->rm_name : "unknown",
			   type ? type : "unknown",
			   target.blkno, target.spcOid, target.dbOid, target.relNumber);
}

/* ERROR: a record needs the code of a resource manager that is not here. */
static void
unknown_resource_manager(XLogRecPtr lsn, RmgrId rmid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("record at %X/%X belongs to resource manager with ID %u, which is not loaded",
					LSN_FORMAT_ARGS(lsn), rmid)));
}

/*
 * Checks the record's header, length and CRC, and leaves it decoded in
 * reader->record.  DecodeXLogRecord() itself checks no CRC.
 */
static void
decode_record(XLogRecPtr lsn, const char *data, uint32 size)
{
	XLogRecord *record;
	size_t		required;
	char	   *errormsg;

	/* DecodeXLogRecord() accesses the record as a struct: align it. */
	if (size > aligned_record_size)
	{
		aligned_record_size = Max(size, BLCKSZ);
		if (aligned_record)
			pfree(aligned_record);
		aligned_record = MemoryContextAlloc(TopMemoryContext,
											aligned_record_size);
	}
	memcpy(aligned_record, data, size);
	record = (XLogRecord *) aligned_record;

	if (size < SizeOfXLogRecord || record->xl_tot_len != size)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record at %X/%X has %u bytes, which is not the length in its header",
						LSN_FORMAT_ARGS(lsn), size)));

	if (!EQ_CRC32C(record->xl_crc, walredo_xlogrecord_crc(record)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("incorrect checksum in record at %X/%X",
						LSN_FORMAT_ARGS(lsn))));

	if (!RmgrIdIsValid(record->xl_rmid))
		unknown_resource_manager(lsn, record->xl_rmid);

	required = DecodeXLogRecordRequiredSpace(size);
	if (required > decoded_size)
	{
		if (decoded)
			pfree(decoded);
		decoded = MemoryContextAllocHuge(TopMemoryContext, required);
		decoded_size = required;
	}

	/*
	 * Where the record begins is not known, since a record that crosses a WAL
	 * page contains a page header there.  No redo routine uses ReadRecPtr.
	 */
	reader->ReadRecPtr = lsn - MAXALIGN(size);
	reader->EndRecPtr = lsn;
	if (!DecodeXLogRecord(reader, decoded, record, reader->ReadRecPtr,
						  &errormsg))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record at %X/%X cannot be decoded: %s",
						LSN_FORMAT_ARGS(lsn), errormsg)));
	reader->record = decoded;
}

/*
 * Returns the number of the scratch relation that stands for a relation of the
 * record; gives it the next one if it has none yet.
 */
static int
scratch_relation(const RelFileLocator *locator, bool init_fork)
{
	int			i;

	for (i = 0; i < num_named_relations; i++)
	{
		if (RelFileLocatorEquals(named_relations[i].locator, *locator) &&
			named_relations[i].init_fork == init_fork)
			return i;
	}
	if (i >= NUM_SCRATCH_RELATIONS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record at %X/%X names more than %d relations",
						LSN_FORMAT_ARGS(reader->EndRecPtr),
						NUM_SCRATCH_RELATIONS)));
	named_relations[i].locator = *locator;
	named_relations[i].init_fork = init_fork;
	num_named_relations++;
	return i;
}

/*
 * Installs the pages that redo of a heap record touches without their being
 * named in the record: the pages of the visibility map and of the free space
 * map that are about a heap block.  Most routines note free space only where
 * they changed the block, but that of XLOG_HEAP2_VISIBLE does so for any heap
 * block that is there, a dummy, too.
 */
static void
install_heap_companions(int rel, BlockNumber blkno, bool is_target)
{
	BlockNumber leaf = blkno / SlotsPerFSMPage;
	BlockNumber fsm_block = 0;

	/*
	 * Every record of a request is about the target, so remember that its
	 * pages are there already.
	 */
	if (is_target && target_has_companions)
		return;

	/* As fsm_logical_to_physical() of freespace.c does for a leaf page. */
	for (int level = 0; level < FSM_TREE_DEPTH; level++)
	{
		fsm_block += leaf + 1;
		leaf /= SlotsPerFSMPage;
	}

	(void) install_page(rel, VISIBILITYMAP_FORKNUM, walredo_vm_page(blkno));
	(void) install_page(rel, FSM_FORKNUM, fsm_block - 1);
	if (is_target)
		target_has_companions = true;
}

/*
 * Raises an error if redo has left a page locked or pinned, as it may with a
 * record that no server has written.  The error must be about this record, and
 * not about the next one that happens to need the page.  holdoff_count is
 * InterruptHoldoffCount as it was before redo; every lock that is held
 * increments it.
 */
static void
check_nothing_is_held(uint32 holdoff_count)
{
	bool		held = (InterruptHoldoffCount != holdoff_count);

	for (int i = 0; i <= decoded->max_block_id; i++)
	{
		DecodedBkpBlock *block = &decoded->blocks[i];
		BufferDesc *desc;

		if (!block->in_use)
			continue;
		desc = GetBufferDescriptor(block->prefetch_buffer - 1);
		held |= BUF_STATE_GET_REFCOUNT(walredo_read_buffer_state(desc)) != 0;
	}
	if (held)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("redo of the record did not release a locked or pinned page")));
}

/*
 * Restores the target's full-page image from a record of an unknown resource
 * manager, as XLogReadBufferForRedoExtended() does for known ones.
 */
static void
restore_target(void)
{
	Page		page = BufferGetPage(target_buffer);

	for (int i = 0; i <= decoded->max_block_id; i++)
	{
		DecodedBkpBlock *block = &decoded->blocks[i];

		if (!block->in_use || block->prefetch_buffer != target_buffer)
			continue;
		if (!block->apply_image)
			unknown_resource_manager(reader->EndRecPtr,
									 XLogRecGetRmid(reader));
		if (!RestoreBlockImage(reader, i, (char *) page))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg_internal("%s", reader->errormsg_buf)));
		if (!PageIsNew(page))
			PageSetLSN(page, reader->EndRecPtr);
	}
}

/*
 * Puts the pages of all blocks that the decoded record names into the pool: the
 * target under its own address, dummies for all others.  The record's blocks
 * are changed to name scratch relations.  Checks that the target is among them,
 * and that there will be an image to start from.
 */
static void
install_blocks(bool is_heap)
{
	bool		names_target = false;
	bool		makes_image = false;

	for (int i = 0; i <= decoded->max_block_id; i++)
	{
		DecodedBkpBlock *block = &decoded->blocks[i];
		bool		init_fork;
		bool		is_target;
		int			rel;

		if (!block->in_use)
			continue;
		if (block->forknum > MAX_FORKNUM || block->blkno >= MaxBlockNumber)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("record names an invalid block: fork %d, block %u",
							block->forknum, block->blkno)));

		init_fork = (block->forknum == INIT_FORKNUM);
		rel = scratch_relation(&BlockLocator(block), init_fork);
		is_target = (rel == TARGET_RELATION &&
					 block->forknum == target.forknum &&
					 block->blkno == target.blkno);

		BlockLocator(block) = scratch_locators[rel];
		if (init_fork)
			block->forknum = MAIN_FORKNUM;
		if (is_target)
		{
			names_target = true;
			makes_image |= block->apply_image ||
				(block->flags & BKPBLOCK_WILL_INIT) != 0;
			block->prefetch_buffer = target_buffer;
		}
		else
			block->prefetch_buffer = install_dummy(rel, block->forknum,
												   block->blkno);
		if (block->apply_image && walredo_image_is_short(reader, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("image of block %d of the record decompresses to less than a page",
							i)));
		if (is_heap && block->forknum == MAIN_FORKNUM)
			install_heap_companions(rel, block->blkno, is_target);
	}

	if (!names_target)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record does not name the block")));
	if (!target_has_image && !makes_image)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record needs a base image, and there is none")));
}

/*
 * Replays one record on the block.  It may be any bytes: that it is whole and
 * sound, and names the block, is checked here.
 */
const char *
walredo_redo_apply(const WalredoMessage *message)
{
	ErrorContextCallback errcallback;
	RmgrId		rmid;
	uint32		holdoff_count = InterruptHoldoffCount;

	decode_record(message->lsn, message->body, message->body_size);
	rmid = XLogRecGetRmid(reader);

	errcallback.callback = redo_error_context;
	errcallback.arg = NULL;
	errcallback.previous = error_context_stack;
	error_context_stack = &errcallback;

	reserve_pages();
	num_named_relations = TARGET_RELATION + 1;
	install_blocks(rmid == RM_HEAP_ID || rmid == RM_HEAP2_ID);

	/*
	 * Without a base image, the buffer may still have the contents that an
	 * earlier request left there.  Redo must not see any of that.
	 */
	if (!target_has_image)
		memset(BufferGetPage(target_buffer), 0, BLCKSZ);

	/*
	 * Redo of a change in place would send invalidation messages, and delete
	 * files.  In a child there are no other sessions, and no files.
	 */
	if (rmid == RM_HEAP_ID &&
		(XLogRecGetInfo(reader) & XLOG_HEAP_OPMASK) == XLOG_HEAP_INPLACE)
		walredo_forget_inplace_messages(decoded->main_data,
										decoded->main_data_len);

	if (RmgrIdExists(rmid))
		RmgrTable[rmid].rm_redo(reader);
	else
		restore_target();
	check_nothing_is_held(holdoff_count);

	/* Dummies are valid pages, so it can only be the target that was not. */
	if (XLogHaveInvalidPages())
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("base image is a new page, and the record does not initialize it")));

	target_has_image = true;
	error_context_stack = errcallback.previous;
	MemoryContextReset(redo_context);
	return NULL;
}

/*
 * Answers with the text that the record's resource manager describes it with,
 * cut if need be, and filled up with zeroes.
 */
const char *
walredo_redo_describe(const WalredoMessage *message)
{
	static char text[BLCKSZ];
	StringInfoData buf;

	decode_record(message->lsn, message->body, message->body_size);
	initStringInfo(&buf);
	if (RmgrIdExists(XLogRecGetRmid(reader)))
		RmgrTable[XLogRecGetRmid(reader)].rm_desc(&buf, reader);

	memset(text, 0, BLCKSZ);
	strlcpy(text, buf.data, BLCKSZ);
	MemoryContextReset(redo_context);
	return text;
}
