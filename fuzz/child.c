/*-------------------------------------------------------------------------
 *
 * child.c
 *	  The wal-redo child's request loop and replay, without the child.
 *
 * The sources of the child are part of this file, with its ends of the pipes
 * replaced by an input and a counter.  The sandbox and the start are left out.
 *
 * Redo routines are, too: they trust their records, which is why there is a
 * child in the first place, and a fuzzer would find out about little else.  A
 * stand-in asks for the pages that the record names, as all of them do, and
 * checks what the child has promised about pages: that each of them is there,
 * and that only the target is to be changed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * fuzz/child.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "compat.h"
#include "fuzz.h"
#include "miscadmin.h"
#include "proto/proto.h"
#include "record/xlogrecord.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/resowner.h"

static ssize_t fuzz_read(int fd, char *buf, size_t min, size_t max);
static bool fuzz_write(int fd, const char *buf, size_t size);
static bool fuzz_decode(XLogReaderState *state, DecodedXLogRecord *decoded,
						XLogRecord *record, XLogRecPtr lsn, char **errormsg);

/*
 * The server of the fuzzing has many buffers, so that none of the scratch
 * pages is ever evicted in favour of a catalog's; the child believes that it
 * has as few as it really has.
 */
#define CHILD_BUFFERS	128

#define walredo_read	fuzz_read
#define walredo_write	fuzz_write
#define DecodeXLogRecord	fuzz_decode
#define NBuffers		CHILD_BUFFERS
#include "../src/child/redo.c"
#include "../src/child/child.c"
#undef walredo_read
#undef walredo_write
#undef DecodeXLogRecord
#undef NBuffers

/* Standard input, and how much of it has been read. */
static const char *stdin_data;
static Size stdin_size;

static ResourceOwner child_owner = NULL;

/* What the start of a child calls, which there is none of here. */
const char *
walredo_sandbox_limit_resources(size_t memory_limit)
{
	return "limit resources here";
}

const char *
walredo_sandbox_enter_template(void)
{
	return "enter a sandbox here";
}

const char *
walredo_sandbox_enter(pid_t parent)
{
	return "enter a sandbox here";
}

const char *
walredo_template_unshare_memory(void)
{
	return "unshare memory here";
}

const char *
walredo_template_serve(void)
{
	return "nobody";
}

/* Gives out the input in pieces of uneven sizes, as a pipe may do. */
static ssize_t
fuzz_read(int fd, char *buf, size_t min, size_t max)
{
	size_t		n = Min(max, stdin_size);

	if (n > min)
		n = min + (n - min) / 2;
	memcpy(buf, stdin_data, n);
	stdin_data += n;
	stdin_size -= n;
	return n;
}

static bool
fuzz_write(int fd, const char *buf, size_t size)
{
	volatile char last;

	if (fd != STDOUT_FILENO || size != BLCKSZ)
		fuzz_fail("an answer of %zu bytes on descriptor %d", size, fd);
	for (Size i = 0; i < size; i++)
		last = buf[i];
	(void) last;
	return true;
}

/* No record gets to a child that the backend has not looked into. */
static bool
fuzz_decode(XLogReaderState *state, DecodedXLogRecord *decoded_record,
			XLogRecord *record, XLogRecPtr lsn, char **errormsg)
{
	*errormsg = unconstify(char *, walredo_xlogrecord_check(record));
	if (*errormsg != NULL)
		return false;
	return DecodeXLogRecord(state, decoded_record, record, lsn, errormsg);
}

/* In place of all redo routines. */
static void
stand_in_redo(XLogReaderState *state)
{
	for (int id = 0; id <= XLogRecMaxBlockId(state); id++)
	{
		XLogRedoAction action;
		Buffer		buffer;
		bool		is_target;

		if (!XLogRecHasBlockRef(state, id))
			continue;
		if (XLogRecGetBlock(state, id)->flags & BKPBLOCK_WILL_INIT)
		{
			buffer = XLogInitBufferForRedo(state, id);
			action = BLK_NEEDS_REDO;
			is_target = (buffer == target_buffer);
			PageInit(BufferGetPage(buffer), BLCKSZ, 0);
		}
		else
		{
			action = XLogReadBufferForRedo(state, id, &buffer);
			is_target = (buffer == target_buffer);
			if (action == BLK_NEEDS_REDO && !is_target)
				fuzz_fail("block %d is not the target, but would be changed",
						  id);
			if (action == BLK_NOTFOUND && target_has_image &&
				!PageIsNew(BufferGetPage(target_buffer)))
				fuzz_fail("block %d is not there", id);
		}
		if (action == BLK_NEEDS_REDO)
		{
			PageSetLSN(BufferGetPage(buffer), state->EndRecPtr);
			MarkBufferDirty(buffer);
		}
		if (BufferIsValid(buffer))
			UnlockReleaseBuffer(buffer);
	}
}

static void
stand_in_desc(StringInfo buf, XLogReaderState *state)
{
	for (int id = 0; id <= XLogRecMaxBlockId(state); id++)
	{
		if (XLogRecHasBlockRef(state, id))
			appendStringInfo(buf, "block %d of %d, with an image or without; ",
							 id, XLogRecMaxBlockId(state));
	}
}

static void
stand_in_mask(char *page, BlockNumber blkno)
{
	memset(page, 0, SizeOfPageHeaderData);
}

static void
start_child(void)
{
	MemoryContextSwitchTo(TopMemoryContext);
	child_owner = ResourceOwnerCreate(NULL, "walredo child");
	CurrentResourceOwner = child_owner;
	walredo_redo_startup();
	input_size = INPUT_BUFFER_SIZE;
	input = MemoryContextAlloc(TopMemoryContext, input_size);

	for (int i = 0; i <= RM_MAX_ID; i++)
	{
		if (!RmgrIdExists(i))
			continue;
		RmgrTable[i].rm_redo = stand_in_redo;
		RmgrTable[i].rm_desc = stand_in_desc;
		if (RmgrTable[i].rm_mask != NULL)
			RmgrTable[i].rm_mask = stand_in_mask;
	}
}

void
fuzz_child_run(const char *data, Size size)
{
	if (child_owner == NULL)
		start_child();

	CurrentResourceOwner = child_owner;
	MemoryContextSwitchTo(redo_context);
	InRecovery = true;
	stdin_data = data;
	stdin_size = size;
	while (handle_message())
		;
	if (stdin_size > 0)
		fuzz_fail("the child ends before its input does");
	if (page_cache->members > CHILD_BUFFERS)
		fuzz_fail("%u pages are in use", page_cache->members);
}

/* The next input finds a child that has just started. */
void
fuzz_child_clean_up(void)
{
	if (child_owner == NULL)
		return;
	LWLockReleaseAll();
	UnlockBuffers();
	ResourceOwnerRelease(child_owner, RESOURCE_RELEASE_BEFORE_LOCKS, false,
						 true);
	DropDatabaseBuffers(SCRATCH_DATABASE);
	for (int i = 0; i < NUM_SCRATCH_RELATIONS; i++)
	{
		for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
			XLogDropRelation(scratch_locators[i], fork);
	}
	pagecache_reset(page_cache);
	MemoryContextReset(redo_context);
	target_buffer = InvalidBuffer;
	target_has_image = false;
	target_has_companions = false;
	num_named_relations = 0;
	have_block = false;
	input_start = input_end = 0;
	InRecovery = false;
}

static void
put(StringInfo buf, WalredoMessageType type, const char *head, Size head_size,
	const char *body, Size body_size)
{
	char		header[WALREDO_WIRE_HEADER_SIZE];

	(void) walredo_put_header(header, type, head_size + body_size);
	appendBinaryStringInfo(buf, header, sizeof(header));
	appendBinaryStringInfo(buf, head, head_size);
	appendBinaryStringInfo(buf, body, body_size);
}

/* A request for each block of the record. */
void
fuzz_child_seed(const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoBlockIterator iter;
	char		lsn[WALREDO_WIRE_LSN_SIZE];
	StringInfoData buf;

	(void) walredo_put_uint64(lsn, end_lsn);
	initStringInfo(&buf);
	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
	{
		const WalredoBlockRef *block = &iter.block;
		WalredoWireTag wire_tag;
		char		tag[WALREDO_WIRE_TAG_SIZE];

		wire_tag.forknum = block->forknum;
		wire_tag.spcOid = LocatorSpcOid(block->locator);
		wire_tag.dbOid = LocatorDbOid(block->locator);
		wire_tag.relNumber = LocatorRelNumber(block->locator);
		wire_tag.blkno = block->blkno;
		(void) walredo_put_tag(tag, &wire_tag);

		put(&buf, WALREDO_MSG_BEGIN, tag, sizeof(tag), NULL, 0);
		if (!block->will_init)
		{
			PGAlignedBlock page;

			PageInit(page.data, BLCKSZ, 0);
			put(&buf, WALREDO_MSG_PUSH, tag, sizeof(tag), page.data, BLCKSZ);
		}
		put(&buf, WALREDO_MSG_APPLY, lsn, sizeof(lsn),
			(const char *) record, record->xl_tot_len);
		put(&buf, WALREDO_MSG_GET, tag, sizeof(tag), NULL, 0);
	}
	put(&buf, WALREDO_MSG_DESCRIBE, lsn, sizeof(lsn),
		(const char *) record, record->xl_tot_len);
	fuzz_seed(buf.data, buf.len);
}

void
fuzz_child_seed_once(void)
{
	PGAlignedBlock page;
	StringInfoData buf;
	char		mask[WALREDO_WIRE_MASK_SIZE] = {RM_HEAP_ID};

	initStringInfo(&buf);
	put(&buf, WALREDO_MSG_PING, NULL, 0, NULL, 0);
	PageInit(page.data, BLCKSZ, 0);
	put(&buf, WALREDO_MSG_MASK, mask, sizeof(mask), page.data, BLCKSZ);
	fuzz_seed(buf.data, buf.len);
}
