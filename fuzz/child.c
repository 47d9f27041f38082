/*-------------------------------------------------------------------------
 *
 * child.c
 *	  The wal-redo child's request loop and replay, fuzzed in this process.
 *
 * The sources of the child are included in this file.  Its standard input is
 * replaced by the fuzzer's input, and its answers are only checked.  The
 * sandbox and the start of the child are left out.
 *
 * Redo routines are replaced, too: they trust their records, which is why there
 * is a child in the first place, and a fuzzer would find little else than that.
 * The function that stands for all of them asks for the pages that the record
 * names, as they do, and checks what redo.c promises about these pages: that
 * each of them is there, and that only the target is to be changed.
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
static size_t fuzz_look(int fd, char *buf, size_t max, int num_looks);
static bool fuzz_write(int fd, const char *buf, size_t size);
static bool fuzz_decode(XLogReaderState *state, DecodedXLogRecord *decoded,
						XLogRecord *record, XLogRecPtr lsn, char **errormsg);

/*
 * This server has many buffers, so that no scratch page is ever evicted in
 * favour of a catalog's page.  The child's sources are told the number of
 * buffers that a child really has.
 */
#define CHILD_BUFFERS	128

#define walredo_read	fuzz_read
#define walredo_look	fuzz_look
#define walredo_write	fuzz_write
#define DecodeXLogRecord	fuzz_decode
#define NBuffers		CHILD_BUFFERS
#include "../src/child/redo.c"
#include "../src/child/child.c"
#undef walredo_read
#undef walredo_look
#undef walredo_write
#undef DecodeXLogRecord
#undef NBuffers

/* The part of the input that the child has not read yet. */
static const char *stdin_data;
static Size stdin_size;

static ResourceOwner child_owner = NULL;

/* These are called at the start of a child, so never here. */
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

/* As if the next bytes came a little after they were looked for, or not. */
static size_t
fuzz_look(int fd, char *buf, size_t max, int num_looks)
{
	if (fd != WALREDO_LOOK_FILENO)
		fuzz_fail("looked at descriptor %d", fd);
	return fuzz_read(fd, buf, 0, max);
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

/*
 * The backend checks each record with walredo_xlogrecord_check() before it goes
 * to a child, so DecodeXLogRecord() never sees one that fails that.
 */
static bool
fuzz_decode(XLogReaderState *state, DecodedXLogRecord *decoded_record,
			XLogRecord *record, XLogRecPtr lsn, char **errormsg)
{
	*errormsg = unconstify(char *, walredo_xlogrecord_check(record));
	if (*errormsg != NULL)
		return false;
	return DecodeXLogRecord(state, decoded_record, record, lsn, errormsg);
}

/* Stands for the redo routines of all resource managers. */
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

/* Puts the child back into the state in which it is when it has started. */
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
	request_has_begun = false;
	is_to_look = false;
	num_looks = 0;
	input_start = input_end = 0;
	InRecovery = false;
}

/* All messages, in an order in which they make requests. */
static const WalredoMessageType message_types[] = {
#define MESSAGE_TYPE(symbol, type, name, payload, order, answered) symbol,
	WALREDO_MESSAGES(MESSAGE_TYPE)
#undef MESSAGE_TYPE
};

/*
 * Appends a message.  Of its fields, those must have been filled in that its
 * payload has, except for the body: that is the page or the record.
 */
static void
put(StringInfo buf, const WalredoMessageRule *rule, WalredoMessage *message,
	const char *page, const XLogRecord *record)
{
	char		head[WALREDO_WIRE_MAX_HEAD_SIZE];

	message->type = rule->type;
	message->body = NULL;
	message->body_size = 0;
	switch (rule->payload)
	{
		case WALREDO_PAYLOAD_NOTHING:
		case WALREDO_PAYLOAD_TAG:
			break;
		case WALREDO_PAYLOAD_TAG_PAGE:
		case WALREDO_PAYLOAD_MASK:
			message->body = page;
			message->body_size = BLCKSZ;
			break;
		case WALREDO_PAYLOAD_RECORD:
			message->body = (const char *) record;
			message->body_size = record->xl_tot_len;
			break;
	}
	appendBinaryStringInfo(buf, head,
						   walredo_put_message_head(head, message) - head);
	appendBinaryStringInfo(buf, message->body, message->body_size);
}

/*
 * A request for each block of the record, and then all other messages that can
 * carry the record.
 */
void
fuzz_child_seed(const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoBlockIterator iter;
	WalredoMessage message = {.lsn = end_lsn};
	PGAlignedBlock page;
	StringInfoData buf;

	PageInit(page.data, BLCKSZ, 0);
	initStringInfo(&buf);
	walredo_block_iterator_init(&iter, record);
	while (walredo_block_iterator_next(&iter))
	{
		const WalredoBlockRef *block = &iter.block;

		message.tag.forknum = block->forknum;
		message.tag.spcOid = LocatorSpcOid(block->locator);
		message.tag.dbOid = LocatorDbOid(block->locator);
		message.tag.relNumber = LocatorRelNumber(block->locator);
		message.tag.blkno = block->blkno;

		for (int i = 0; i < lengthof(message_types); i++)
		{
			const WalredoMessageRule *rule =
				walredo_message_rule(message_types[i]);

			if (rule->order == WALREDO_ORDER_ANY)
				continue;
			if (rule->payload == WALREDO_PAYLOAD_TAG_PAGE && block->will_init)
				continue;
			put(&buf, rule, &message, page.data, record);
		}
	}
	for (int i = 0; i < lengthof(message_types); i++)
	{
		const WalredoMessageRule *rule = walredo_message_rule(message_types[i]);

		if (rule->order == WALREDO_ORDER_ANY &&
			rule->payload == WALREDO_PAYLOAD_RECORD)
			put(&buf, rule, &message, page.data, record);
	}
	fuzz_seed(buf.data, buf.len);
}

/* All messages that are about neither a block nor a record. */
void
fuzz_child_seed_once(void)
{
	WalredoMessage message = {.rmid = RM_HEAP_ID};
	PGAlignedBlock page;
	StringInfoData buf;

	PageInit(page.data, BLCKSZ, 0);
	initStringInfo(&buf);
	for (int i = 0; i < lengthof(message_types); i++)
	{
		const WalredoMessageRule *rule = walredo_message_rule(message_types[i]);

		if (rule->order == WALREDO_ORDER_ANY &&
			rule->payload != WALREDO_PAYLOAD_RECORD)
			put(&buf, rule, &message, page.data, NULL);
	}
	fuzz_seed(buf.data, buf.len);
}
