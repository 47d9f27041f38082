/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Replay of a list of records on the image of one page.
 *
 * Native records are applied here in the backend, and whole WAL records by a
 * wal-redo child.  There are two sorts of pages that no child replays WAL
 * records on: pages that are no block of a relation, and pages of a visibility
 * map that the record changes without naming them.  For these, WAL records are
 * converted to native ones.  The list is cut into runs of either sort, and
 * each run changes the image that the one before has left.
 *
 * walredo_replay() validates all records that a child is to replay, because a
 * child exits on any invalid input, and then the next request has to wait for
 * another child.  The callers of streams make sure of it themselves.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/redo/replay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "mb/pg_wchar.h"
#include "native/native.h"
#include "pool/client.h"
#include "portability/instr_time.h"
#include "proto/proto.h"
#include "record/xlogrecord.h"
#include "redo/replay.h"
#include "stats/stats.h"
#include "wal/changes.h"

#define RecordXLogRecord(record)	((const XLogRecord *) (record)->u.data)

#define RECORD_HEAD_SIZE	(WALREDO_WIRE_HEADER_SIZE + WALREDO_WIRE_LSN_SIZE)

StaticAssertDecl(WALREDO_MAX_REPLAY_SIZE + WALREDO_WIRE_LSN_SIZE <=
				 WALREDO_WIRE_MAX_PAYLOAD,
				 "a child must take what is sent to it");

Size
walredo_replay_record_size(const XLogRecord *record)
{
	return RECORD_HEAD_SIZE + record->xl_tot_len;
}

/* Writes what precedes a record of the given size in a message. */
static inline char *
put_record_head(char *p, WalredoMessageType type, XLogRecPtr end_lsn,
				Size size)
{
	p = walredo_put_header(p, type, WALREDO_WIRE_LSN_SIZE + size);
	return walredo_put_uint64(p, end_lsn);
}

void
walredo_replay_put_record(char *dst, XLogRecPtr end_lsn,
						  const XLogRecord *record)
{
	dst = put_record_head(dst, WALREDO_MSG_APPLY, end_lsn,
						  record->xl_tot_len);
	memcpy(dst, record, record->xl_tot_len);
}

/* Writes the header of a message. */
static void
put_message(WalredoPipe *pipe, WalredoMessageType type, uint32 payload_size)
{
	char	   *p = walredo_pipe_reserve(pipe, WALREDO_WIRE_HEADER_SIZE);

	(void) walredo_put_header(p, type, payload_size);
}

/* Writes a message that contains a whole WAL record. */
static void
put_record(WalredoPipe *pipe, WalredoMessageType type,
		   const WalredoRecord *record)
{
	Size		size = WalredoRecordBodySize(record);
	bool		is_short = RECORD_HEAD_SIZE + size <= WALREDO_PIPE_MAX_RESERVE;
	char	   *p;

	/* Most records are short, and there may be very many. */
	p = walredo_pipe_reserve(pipe, RECORD_HEAD_SIZE + (is_short ? size : 0));
	p = put_record_head(p, type, record->lsn, size);
	if (is_short)
		memcpy(p, record->u.data, size);
	else
		walredo_pipe_put(pipe, record->u.data, size);
}

static void
put_tag(WalredoPipe *pipe, const WalredoTag *tag)
{
	WalredoWireTag wire_tag = {
		.forknum = tag->forknum,
		.spcOid = tag->spcOid,
		.dbOid = tag->dbOid,
		.relNumber = tag->relNumber,
		.blkno = (BlockNumber) tag->number
	};

	(void) walredo_put_tag(walredo_pipe_reserve(pipe, WALREDO_WIRE_TAG_SIZE),
						   &wire_tag);
}

/* Writes what precedes the records of a page: its tag, and its image if any. */
static void
begin_page(WalredoPipe *pipe, const WalredoTag *tag, const char *base)
{
	put_message(pipe, WALREDO_MSG_BEGIN, WALREDO_WIRE_TAG_SIZE);
	put_tag(pipe, tag);
	if (base != NULL)
	{
		put_message(pipe, WALREDO_MSG_PUSH, WALREDO_WIRE_TAG_SIZE + BLCKSZ);
		put_tag(pipe, tag);
		walredo_pipe_put_in_place(pipe, base, BLCKSZ);
	}
}

/* Writes what follows the records of a page. */
static void
end_page(WalredoPipe *pipe, const WalredoTag *tag)
{
	put_message(pipe, WALREDO_MSG_GET, WALREDO_WIRE_TAG_SIZE);
	put_tag(pipe, tag);
}

static void
send_run(WalredoPipe *pipe, void *arg)
{
	WalredoReplayRun *run = arg;

	begin_page(pipe, run->tag, run->base ? VARDATA(run->base) : NULL);
	for (int i = 0; i < run->nrecords; i++)
		put_record(pipe, WALREDO_MSG_APPLY, run->records[i]);
	end_page(pipe, run->tag);
}

static void
send_job(WalredoPipe *pipe, void *arg)
{
	WalredoReplayJob *job = arg;

	begin_page(pipe, &job->tag, job->base);
	for (int i = 0; i < job->npieces; i++)
		walredo_pipe_put_in_place(pipe, job->pieces[i].data,
								  job->pieces[i].size);
	end_page(pipe, &job->tag);
}

static const char *
rmgr_name(RmgrId rmid)
{
	if (!RmgrIdIsValid(rmid) || !RmgrIdExists(rmid))
		return "unknown";
	return RmgrTable[rmid].rm_name;
}

/*
 * Reads the LSN and resource manager of the record in a message that
 * walredo_replay_put_record() has written.  Returns the size of the message.
 */
static Size
read_message(const char *data, XLogRecPtr *lsn, RmgrId *rmid)
{
	XLogRecord	header;

	*lsn = walredo_get_uint64(data + WALREDO_WIRE_HEADER_SIZE);
	memcpy(&header, data + RECORD_HEAD_SIZE, SizeOfXLogRecord);
	*rmid = header.xl_rmid;
	return walredo_replay_record_size(&header);
}

/*
 * The functions named describe_... make a sentence about a request, for the
 * DETAIL of an error.
 */
static char *
describe_records(const WalredoTag *tag, int nrecords, XLogRecPtr first_lsn,
				 XLogRecPtr last_lsn, RmgrId last_rmid)
{
	if (nrecords == 1)
		return psprintf("The request was to replay the %s record at %X/%X on %s.",
						rmgr_name(last_rmid), LSN_FORMAT_ARGS(last_lsn),
						walredo_tag_to_cstring(tag));
	return psprintf("The request was to replay %d records, from %X/%X to the %s record at %X/%X, on %s.",
					nrecords, LSN_FORMAT_ARGS(first_lsn),
					rmgr_name(last_rmid), LSN_FORMAT_ARGS(last_lsn),
					walredo_tag_to_cstring(tag));
}

static char *
describe_run(void *arg)
{
	WalredoReplayRun *run = arg;
	const WalredoRecord *last = run->records[run->nrecords - 1];

	return describe_records(run->tag, run->nrecords, run->records[0]->lsn,
							last->lsn, RecordXLogRecord(last)->xl_rmid);
}

static char *
describe_job(void *arg)
{
	WalredoReplayJob *job = arg;
	const WalredoReplayPiece *last;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn = InvalidXLogRecPtr;
	RmgrId		rmid = 0;

	if (job->npieces == 0)
		return psprintf("The request was to return %s.",
						walredo_tag_to_cstring(&job->tag));
	last = &job->pieces[job->npieces - 1];
	(void) read_message(job->pieces[0].data, &first_lsn, &rmid);
	for (Size at = 0; at < last->size;)
		at += read_message(last->data + at, &last_lsn, &rmid);
	return describe_records(&job->tag, job->nrecords, first_lsn, last_lsn,
							rmid);
}

/* ERROR 22023: a record is not about the page. */
static void
not_of_page(const WalredoTag *tag, const WalredoRecord *record)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("WAL record does not belong to the page"),
			 errdetail("The record at %X/%X does not change %s.",
					   LSN_FORMAT_ARGS(record->lsn),
					   walredo_tag_to_cstring(tag))));
}

/* ERROR 22023: a record needs an image of the page. */
static void
no_base_image(const WalredoTag *tag, const WalredoRecord *record)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("base image is missing"),
			 errdetail("The record at %X/%X changes %s, but does not initialize it.",
					   LSN_FORMAT_ARGS(record->lsn),
					   walredo_tag_to_cstring(tag))));
}

/*
 * Checks a WAL record that a child is to replay on a page.  If is_first, there
 * is no image of the page that the record could change.
 *
 * A child knows the server's own resource managers only; of a record of another
 * it can restore an image, as all of them do.  ERROR 22023 if the record is not
 * about the page at all, was given as one that initializes it and does not, or
 * does not initialize it and is the first.
 */
static void
check_replayable(const WalredoTag *tag, const WalredoRecord *record,
				 bool is_first)
{
	const XLogRecord *xlogrecord = RecordXLogRecord(record);
	WalredoPageChange change;
	bool		starts_page;

	if (!walredo_block_change(xlogrecord, tag, &change))
		not_of_page(tag, record);
	starts_page = change.starts_page;

	if ((record->flags & WALREDO_WILL_INIT_GIVEN) != 0)
	{
		starts_page = (record->flags & WALREDO_WILL_INIT) != 0;
		if (starts_page && !change.starts_page)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("WAL record does not initialize the page"),
					 errdetail("The record at %X/%X is declared to initialize %s, but only changes it.",
							   LSN_FORMAT_ARGS(record->lsn),
							   walredo_tag_to_cstring(tag))));
	}
	if (is_first && !starts_page)
		no_base_image(tag, record);

	walredo_record_check_replay_size(record->lsn, xlogrecord->xl_tot_len);
	if (change.what == WALREDO_CHANGE_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay WAL record of an unknown resource manager"),
				 errdetail("The record at %X/%X is of the resource manager with ID %u, and has no full-page image of %s.",
						   LSN_FORMAT_ARGS(record->lsn),
						   xlogrecord->xl_rmid,
						   walredo_tag_to_cstring(tag)),
				 errhint("Begin with a later record that has an image of the page.")));
}

/*
 * True if a record is for apply_native_run(): a native one, or a whole WAL
 * record for a page that no child replays it on, see the head of this file.
 */
static inline bool
is_applied_here(const WalredoTag *tag, const WalredoRecord *record)
{
	WalredoPageChange change;

	if (WalredoRecordIsNative(record) || tag->kind != WALREDO_TAG_REL)
		return true;
	return tag->forknum == VISIBILITYMAP_FORKNUM &&
		!walredo_block_change(RecordXLogRecord(record), tag, &change);
}

/*
 * How many records, from the first on, are to be replayed by a child, which are
 * checked.  There may be very many records, so each is looked at only once, to
 * find the end of the run and to check it.
 */
static int
check_postgres_run(const WalredoTag *tag, bool has_image,
				   WalredoRecord *const *records, int nrecords)
{
	int			n = 0;

	for (; n < nrecords && !is_applied_here(tag, records[n]); n++)
		check_replayable(tag, records[n], n == 0 && !has_image);
	return n;
}

/*
 * Has a child replay a run of WAL records, which have been checked.
 */
static bytea *
apply_postgres_run(const WalredoTag *tag, bytea *image,
				   WalredoRecord *const *records, int nrecords)
{
	WalredoReplayRun run = {tag, image, records, nrecords};
	WalredoRequest request = {send_run, describe_run, &run, nrecords, false};
	instr_time	start;
	instr_time	duration;

	if (image == NULL)
	{
		image = (bytea *) palloc(VARHDRSZ + BLCKSZ);
		SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	}

	INSTR_TIME_SET_CURRENT(start);
	walredo_pool_request(&request, VARDATA(image));
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);

	ereport(DEBUG1,
			(errmsg_internal("replayed %d WAL records on %s up to %X/%X in %.3f ms",
							 nrecords, walredo_tag_to_cstring(tag),
							 LSN_FORMAT_ARGS(records[nrecords - 1]->lsn),
							 INSTR_TIME_GET_MILLISEC(duration))));
	return image;
}

/*
 * Applies a run of records here: native ones, and WAL records, which are
 * converted to the native records that do the same to this page.
 */
static bytea *
apply_native_run(const WalredoTag *tag, bytea *image,
				 WalredoRecord *const *records, int nrecords)
{
	WalredoPageFilter *filter = NULL;
	WalredoChanges *changes = NULL;
	instr_time	start;
	instr_time	duration;
	uint64		num_applied = 0;
	uint64		bytes = 0;

	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < nrecords; i++)
	{
		WalredoRecord *record = records[i];
		WalredoPageChange *list;
		int			nchanges;
		bool		is_of_page = false;

		if (WalredoRecordIsNative(record))
		{
			image = walredo_native_apply(tag, record, image);
			bytes += WalredoRecordBodySize(record);
			num_applied++;
			continue;
		}

		if (changes == NULL)
		{
			filter = walredo_filter_page(tag);
			changes = walredo_changes_create(filter);
		}
		nchanges = walredo_changes_of(changes, RecordXLogRecord(record),
									  record->lsn, &list);
		for (int j = 0; j < nchanges; j++)
		{
			/* That a record ends the page is nothing to apply. */
			if (list[j].what != WALREDO_CHANGE_NATIVE)
				continue;
			image = walredo_native_apply(tag, list[j].native, image);
			bytes += WalredoRecordBodySize(list[j].native);
			num_applied++;
			is_of_page = true;
		}
		if (!is_of_page)
			not_of_page(tag, record);
	}
	if (changes != NULL)
	{
		walredo_changes_free(changes);
		walredo_filter_free(filter);
	}
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);

	walredo_count(STAT_NATIVE_REQUESTS, 1);
	walredo_count(STAT_NATIVE_RECORDS, num_applied);
	walredo_count(STAT_NATIVE_BYTES, bytes);
	walredo_count_value(STAT_NATIVE_TIME, INSTR_TIME_GET_MICROSEC(duration));
	walredo_count_value(STAT_NATIVE_REQUEST_RECORDS, num_applied);
	walredo_count_value(STAT_NATIVE_REQUEST_BYTES, bytes);
	return image;
}

void
walredo_check_base_size(Size size)
{
	if (size != BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image has the wrong length"),
				 errdetail("A page has %d bytes, but the base image has %zu.",
						   BLCKSZ, size)));
}

bytea *
walredo_replay(const WalredoTag *tag, bytea *base,
			   WalredoRecord *const *records, int nrecords)
{
	bytea	   *image = base;
	int			i = 0;

	walredo_check_enabled();
	if (nrecords == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no records to apply")));
	if (image != NULL && WalredoTagIsPage(tag))
		walredo_check_base_size(VARSIZE(image) - VARHDRSZ);

	while (i < nrecords)
	{
		int			end = i;

		end += check_postgres_run(tag, image != NULL, records + i,
								  nrecords - i);
		if (end > i)
			image = apply_postgres_run(tag, image, records + i, end - i);
		for (i = end; end < nrecords && is_applied_here(tag, records[end]);)
			end++;
		if (end > i)
			image = apply_native_run(tag, image, records + i, end - i);
		i = end;
	}
	return image;
}

/*
 * This only wraps a stream of the pool, so that code that includes replay.h
 * does not depend on the pool.
 */
struct WalredoReplayStream
{
	WalredoStream *stream;
};

static WalredoReplayStream *
begin_stream(WalredoTakeAnswer take)
{
	WalredoReplayStream *stream = palloc(sizeof(WalredoReplayStream));

	stream->stream = walredo_stream_begin(take);
	return stream;
}

WalredoReplayStream *
walredo_replay_begin(WalredoTakePage take)
{
	return begin_stream(take);
}

void
walredo_replay_add(WalredoReplayStream *stream, WalredoReplayJob *job)
{
	WalredoRequest request = {send_job, describe_job, job, job->nrecords,
	false};

	walredo_stream_add(stream->stream, &request);
}

bool
walredo_replay_add_run(WalredoReplayStream *stream, WalredoReplayRun *run)
{
	WalredoRequest request = {send_run, describe_run, run, run->nrecords,
	false};

	if (run->base != NULL && WalredoTagIsPage(run->tag))
		walredo_check_base_size(VARSIZE(run->base) - VARHDRSZ);
	if (run->nrecords == 0 ||
		check_postgres_run(run->tag, run->base != NULL, run->records,
						   run->nrecords) < run->nrecords)
		return false;
	walredo_stream_add(stream->stream, &request);
	return true;
}

bool
walredo_replay_advance(WalredoReplayStream *stream)
{
	return walredo_stream_advance(stream->stream);
}

void
walredo_replay_finish(WalredoReplayStream *stream)
{
	walredo_stream_finish(stream->stream);
}

void
walredo_replay_end(WalredoReplayStream *stream)
{
	walredo_stream_end(stream->stream);
	pfree(stream);
}

void
walredo_replay_one(WalredoReplayJob *job, char *page)
{
	WalredoRequest request = {send_job, describe_job, job, job->nrecords,
	false};

	walredo_pool_request(&request, page);
}

static void
send_mask(WalredoPipe *pipe, void *arg)
{
	WalredoMaskJob *job = arg;
	char		payload[WALREDO_WIRE_MASK_SIZE];

	put_message(pipe, WALREDO_MSG_MASK, sizeof(payload) + BLCKSZ);
	payload[0] = (char) job->rmid;
	(void) walredo_put_uint32(payload + 1, job->blkno);
	walredo_pipe_put(pipe, payload, sizeof(payload));
	walredo_pipe_put(pipe, job->page, BLCKSZ);
}

static char *
describe_mask(void *arg)
{
	WalredoMaskJob *job = arg;

	return psprintf("The request was to mask block %u.", job->blkno);
}

static WalredoRequest
mask_request(WalredoMaskJob *job)
{
	WalredoRequest request = {send_mask, describe_mask, job, 0, false};

	return request;
}

void
walredo_mask_page(RmgrId rmid, BlockNumber blkno, char *page)
{
	WalredoMaskJob job = {rmid, blkno, page, false};
	WalredoRequest request = mask_request(&job);

	walredo_pool_request(&request, page);
}

/* The WalredoTakeAnswer of streams of WalredoMaskJob. */
static void
take_masked(void *arg, const char *page)
{
	WalredoMaskJob *job = arg;

	if (page != NULL)
		memcpy(job->page, page, BLCKSZ);
	job->done = (page != NULL);
}

WalredoReplayStream *
walredo_mask_begin(void)
{
	return begin_stream(take_masked);
}

void
walredo_mask_add(WalredoReplayStream *stream, WalredoMaskJob *job)
{
	WalredoRequest request = mask_request(job);

	job->done = false;
	walredo_stream_add(stream->stream, &request);
}

static void
send_describe(WalredoPipe *pipe, void *arg)
{
	put_record(pipe, WALREDO_MSG_DESCRIBE, arg);
}

static char *
describe_describe(void *arg)
{
	const WalredoRecord *record = arg;

	return psprintf("The request was to describe the %s record at %X/%X.",
					rmgr_name(RecordXLogRecord(record)->xl_rmid),
					LSN_FORMAT_ARGS(record->lsn));
}

char *
walredo_describe_record(const WalredoRecord *record)
{
	WalredoRequest request = {send_describe, describe_describe,
	unconstify(WalredoRecord *, record), 0, false};
	PGAlignedBlock text;

	/*
	 * WAL can have longer records, which change no block that a child is
	 * asked for.  They can be decoded, but no child can be given one.
	 */
	if (WalredoRecordBodySize(record) > WALREDO_MAX_REPLAY_SIZE)
		return pstrdup("");

	walredo_pool_request(&request, text.data);

	/* The child is not trusted to end it, or to write text at all. */
	text.data[BLCKSZ - 1] = '\0';
	if (!pg_verifymbstr(text.data, strlen(text.data), true))
		return pstrdup("");
	return pstrdup(text.data);
}

static void
send_ping(WalredoPipe *pipe, void *arg)
{
	put_message(pipe, WALREDO_MSG_PING, 0);
}

static char *
describe_ping(void *arg)
{
	return pstrdup("The request was a ping.");
}

double
walredo_ping_child(void)
{
	WalredoRequest request = {send_ping, describe_ping, NULL, 0, false};
	PGAlignedBlock answer;
	instr_time	start;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(start);
	walredo_pool_request(&request, answer.data);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	return INSTR_TIME_GET_MILLISEC(duration);
}
