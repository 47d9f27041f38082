/*-------------------------------------------------------------------------
 *
 * record.c
 *	  One change to one page: validation, text and binary forms.
 *
 * What a body looks like is written down once, in record_layouts; reading,
 * writing and checking of both forms follow that table.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/record.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/visibilitymapdefs.h"
#include "access/xlogrecord.h"
#include "libpq/pqformat.h"
#include "storage/bufpage.h"
#include "utils/builtins.h"

#include "record/record.h"
#include "record/parse.h"
#include "record/slru.h"
#include "record/visibilitymap.h"
#include "record/xlogrecord.h"

/* kind, flags, LSN */
#define RECORD_BINARY_HDRSZ	(1 + 1 + 8)

typedef enum FieldType
{
	FIELD_UINT32,
	FIELD_BLOCK,				/* a BlockNumber, or left out if invalid */
	FIELD_UINT64,
	FIELD_INT64
} FieldType;

typedef struct RecordField
{
	const char *name;
	FieldType	type;
	Size		offset;			/* within u */
} RecordField;

#define RECORD_MAX_FIELDS	3

/* What a body ends with. */
typedef enum TailType
{
	TAIL_NONE,
	TAIL_BYTES,
	TAIL_XIDS,
	TAIL_MEMBERS
} TailType;

static const Size tail_entry_sizes[] =
{
	[TAIL_NONE] = 0,
	[TAIL_BYTES] = 1,
	[TAIL_XIDS] = sizeof(TransactionId),
	[TAIL_MEMBERS] = sizeof(WalredoMultiXactMember)
};

typedef struct RecordLayout
{
	const char *name;			/* of the kind */
	Size		fixed_size;		/* bytes of u before the tail */
	RecordField fields[RECORD_MAX_FIELDS];	/* name is NULL after the last */
	TailType	tail;
	const char *tail_name;
	int			page_kinds;		/* walredo_tag_kind_bits() of pages it fits */
	bool		starts_page;	/* whatever the page was before */
	void		(*check) (const WalredoRecord *rec);	/* or NULL */
} RecordLayout;

static void record_check_postgres(const WalredoRecord *rec);
static void record_check_clear_vm(const WalredoRecord *rec);
static void record_check_truncate_vm(const WalredoRecord *rec);
static void record_check_xids(const WalredoRecord *rec);
static void record_check_offset(const WalredoRecord *rec);
static void record_check_members(const WalredoRecord *rec);
static void record_check_commit_ts(const WalredoRecord *rec);

#define SLRU_BITS \
	(WALREDO_KIND_BIT(WALREDO_TAG_CLOG) | \
	 WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_OFFSETS) | \
	 WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_MEMBERS) | \
	 WALREDO_KIND_BIT(WALREDO_TAG_COMMIT_TS))
#define OBJECT_BITS \
	(WALREDO_KIND_BIT(WALREDO_TAG_RELMAP) | \
	 WALREDO_KIND_BIT(WALREDO_TAG_TWOPHASE))

static const RecordLayout record_layouts[WALREDO_RECORD_NKINDS] =
{
	[WALREDO_POSTGRES] = {
		"postgres", 0, {{0}}, TAIL_BYTES, "rec",
		0, false, record_check_postgres
	},
	[WALREDO_CLEAR_VISIBILITY_MAP_FLAGS] = {
		"clear_visibility_map_flags", sizeof(WalredoClearVisibilityMapFlags),
		{
			{"new_heap_blkno", FIELD_BLOCK,
			offsetof(WalredoClearVisibilityMapFlags, new_heap_blkno)},
			{"old_heap_blkno", FIELD_BLOCK,
			offsetof(WalredoClearVisibilityMapFlags, old_heap_blkno)},
			{"flags", FIELD_UINT32,
			offsetof(WalredoClearVisibilityMapFlags, flags)}
		},
		TAIL_NONE, NULL,
		WALREDO_VM_BIT, false, record_check_clear_vm
	},
	[WALREDO_TRUNCATE_VISIBILITY_MAP] = {
		"truncate_visibility_map", sizeof(WalredoTruncateVisibilityMap),
		{
			{"trunc_byte", FIELD_UINT32,
			offsetof(WalredoTruncateVisibilityMap, trunc_byte)},
			{"trunc_offs", FIELD_UINT32,
			offsetof(WalredoTruncateVisibilityMap, trunc_offs)}
		},
		TAIL_NONE, NULL,
		WALREDO_VM_BIT, false, record_check_truncate_vm
	},
	[WALREDO_CLOG_SET_COMMITTED] = {
		"clog_set_committed", 0, {{0}}, TAIL_XIDS, "xids",
		WALREDO_KIND_BIT(WALREDO_TAG_CLOG), false, record_check_xids
	},
	[WALREDO_CLOG_SET_ABORTED] = {
		"clog_set_aborted", 0, {{0}}, TAIL_XIDS, "xids",
		WALREDO_KIND_BIT(WALREDO_TAG_CLOG), false, record_check_xids
	},
	[WALREDO_CLOG_SET_SUBCOMMITTED] = {
		"clog_set_subcommitted", 0, {{0}}, TAIL_XIDS, "xids",
		WALREDO_KIND_BIT(WALREDO_TAG_CLOG), false, record_check_xids
	},
	[WALREDO_MULTIXACT_OFFSET_CREATE] = {
		"multixact_offset_create", sizeof(WalredoMultiXactOffset),
		{
			{"mid", FIELD_UINT32, offsetof(WalredoMultiXactOffset, mid)},
			{"moff", FIELD_UINT64, offsetof(WalredoMultiXactOffset, moff)}
		},
		TAIL_NONE, NULL,
		WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_OFFSETS), false,
		record_check_offset
	},
	[WALREDO_MULTIXACT_MEMBERS_CREATE] = {
		"multixact_members_create", offsetof(WalredoMultiXactMembers, members),
		{
			{"moff", FIELD_UINT64, offsetof(WalredoMultiXactMembers, moff)}
		},
		TAIL_MEMBERS, "members",
		WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_MEMBERS), false,
		record_check_members
	},
	[WALREDO_COMMIT_TS_SET] = {
		"commit_ts_set", offsetof(WalredoCommitTs, xids),
		{
			{"timestamp", FIELD_INT64, offsetof(WalredoCommitTs, timestamp)},
			{"origin", FIELD_UINT32, offsetof(WalredoCommitTs, origin)}
		},
		TAIL_XIDS, "xids",
		WALREDO_KIND_BIT(WALREDO_TAG_COMMIT_TS), false, record_check_commit_ts
	},
	[WALREDO_ZERO_PAGE] = {
		"zero_page", 0, {{0}}, TAIL_NONE, NULL,
		SLRU_BITS, true, NULL
	},
	[WALREDO_REPLACE] = {
		"replace", 0, {{0}}, TAIL_BYTES, "contents",
		OBJECT_BITS, true, NULL
	}
};

#define FieldIsWide(field) \
	((field)->type == FIELD_UINT64 || (field)->type == FIELD_INT64)

/* A change that makes no sense; the rest is errdetail()'s arguments. */
#define record_invalid(rec, ...) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), \
			 errmsg("invalid record of kind \"%s\"", \
					walredo_record_kind_name((rec)->kind)), \
			 errdetail(__VA_ARGS__)))

static const RecordLayout *record_layout(const WalredoRecord *rec);
static uint64 record_get_field(const WalredoRecord *rec,
							   const RecordField *field);
static void record_set_field(WalredoRecord *rec, const RecordField *field,
							 uint64 value);
static WalredoRecord *record_parse_tail(WalredoParser *parser,
										WalredoRecord *rec);

static inline Size
max_body_size(uint8 kind)
{
	return record_layouts[kind].tail == TAIL_BYTES ?
		WALREDO_MAX_RECORD_SIZE : WALREDO_MAX_NATIVE_SIZE;
}

WalredoRecord *
walredo_record_make(WalredoRecordKind kind, XLogRecPtr lsn, Size body_size)
{
	WalredoRecord *rec;

	if (body_size > max_body_size(kind))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record of kind \"%s\" is too large",
						walredo_record_kind_name(kind)),
				 errdetail("The record would have %zu bytes, but the limit is %zu.",
						   body_size, max_body_size(kind))));

	rec = palloc0(WALREDO_RECORD_HDRSZ + body_size);
	SET_VARSIZE(rec, WALREDO_RECORD_HDRSZ + body_size);
	rec->kind = kind;
	rec->lsn = lsn;
	return rec;
}

void
walredo_record_check_replay_size(XLogRecPtr end_lsn, Size size)
{
	if (size > WALREDO_MAX_REPLAY_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("WAL record is too large to be replayed"),
				 errdetail("The record at %X/%X has %zu bytes, but the limit is %d.",
						   LSN_FORMAT_ARGS(end_lsn), size,
						   WALREDO_MAX_REPLAY_SIZE)));
}

const char *
walredo_record_kind_name(WalredoRecordKind kind)
{
	return record_layouts[kind].name;
}

bool
walredo_record_starts_page(WalredoRecordKind kind)
{
	Assert(kind != WALREDO_POSTGRES);
	return record_layouts[kind].starts_page;
}

bool
walredo_record_fits_page(WalredoRecordKind kind, const WalredoTag *tag)
{
	return (record_layouts[kind].page_kinds & walredo_tag_kind_bits(tag)) != 0;
}

void
walredo_not_on_page(const WalredoTag *tag, const WalredoRecord *rec,
					const char *what, uint64 number)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("record of kind \"%s\" does not belong to the page",
					walredo_record_kind_name(rec->kind)),
			 errdetail("%s " UINT64_FORMAT " of the record at %X/%X is not on page \"%s\".",
					   what, number, LSN_FORMAT_ARGS(rec->lsn),
					   walredo_tag_to_cstring(tag))));
}

/*
 * The layout of the record's kind, which must be known.
 */
static const RecordLayout *
record_layout(const WalredoRecord *rec)
{
	return &record_layouts[rec->kind];
}

static uint64
record_get_field(const WalredoRecord *rec, const RecordField *field)
{
	const char *at = rec->u.data + field->offset;

	if (FieldIsWide(field))
		return *(const uint64 *) at;
	return *(const uint32 *) at;
}

static void
record_set_field(WalredoRecord *rec, const RecordField *field, uint64 value)
{
	char	   *at = rec->u.data + field->offset;

	if (FieldIsWide(field))
		*(uint64 *) at = value;
	else
		*(uint32 *) at = (uint32) value;
}

void
walredo_record_validate(const WalredoRecord *rec)
{
	const RecordLayout *layout;
	Size		body_size;
	Size		tail_size;

	if (VARSIZE(rec) < WALREDO_RECORD_HDRSZ || rec->unused != 0 ||
		rec->kind >= WALREDO_RECORD_NKINDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid record"),
				 errdetail("The header of the record is corrupted.")));

	if (XLogRecPtrIsInvalid(rec->lsn))
		record_invalid(rec, "The LSN of the record is invalid.");
	if ((rec->flags & ~(WALREDO_WILL_INIT_GIVEN | WALREDO_WILL_INIT)) != 0 ||
		rec->flags == WALREDO_WILL_INIT ||
		(rec->flags != 0 && rec->kind != WALREDO_POSTGRES))
		record_invalid(rec, "The record has invalid flags 0x%02X.", rec->flags);

	layout = record_layout(rec);
	body_size = WalredoRecordBodySize(rec);
	if (body_size > max_body_size(rec->kind) ||
		body_size < layout->fixed_size)
		record_invalid(rec, "The record has an invalid body length of %zu bytes.",
					   body_size);
	tail_size = body_size - layout->fixed_size;
	if (layout->tail == TAIL_NONE ? tail_size != 0 :
		tail_size % tail_entry_sizes[layout->tail] != 0)
		record_invalid(rec, "The record has an invalid body length of %zu bytes.",
					   body_size);
	/* An empty WAL record is reported as one that is too short, see below. */
	if (layout->tail != TAIL_NONE && tail_size == 0 &&
		rec->kind != WALREDO_POSTGRES)
		record_invalid(rec, "The field \"%s\" of the record is empty.", layout->tail_name);

	if (layout->check != NULL)
		layout->check(rec);
}

void
walredo_report_broken_record(XLogRecPtr end_lsn, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid WAL record that ends at %X/%X",
					LSN_FORMAT_ARGS(end_lsn)),
			 errdetail_internal("%s", problem)));
}

/*
 * A whole WAL record: its length and checksum, in the order of
 * ValidXLogRecord() in xlogreader.c.
 */
static void
record_check_postgres(const WalredoRecord *rec)
{
	const XLogRecord *xlrec = (const XLogRecord *) rec->u.data;
	Size		len = WalredoRecordBodySize(rec);
	pg_crc32c	crc;
	const char *problem;

	if (len < SizeOfXLogRecord)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL record"),
				 errdetail("The record that ends at %X/%X has %zu bytes, fewer than the %zu of a record's header.",
						   LSN_FORMAT_ARGS(rec->lsn), len,
						   (Size) SizeOfXLogRecord)));
	if (xlrec->xl_tot_len != len)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL record"),
				 errdetail("The record that ends at %X/%X has %zu bytes, but its header says %u.",
						   LSN_FORMAT_ARGS(rec->lsn), len,
						   xlrec->xl_tot_len)));

	crc = walredo_xlogrecord_crc(xlrec);
	if (!EQ_CRC32C(xlrec->xl_crc, crc))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL record"),
				 errdetail("The record that ends at %X/%X has checksum 0x%08X, but its header says 0x%08X.",
						   LSN_FORMAT_ARGS(rec->lsn), crc, xlrec->xl_crc)));

	/*
	 * A right checksum does not mean that the server has written the record,
	 * so check that its headers are consistent, too.
	 */
	problem = walredo_xlogrecord_check(xlrec);
	if (problem != NULL)
		walredo_report_broken_record(rec->lsn, problem);
}

static void
record_check_clear_vm(const WalredoRecord *rec)
{
	const WalredoClearVisibilityMapFlags *clear_vm = &rec->u.clear_vm;

	if (clear_vm->flags == 0 ||
		(clear_vm->flags & ~VISIBILITYMAP_VALID_BITS) != 0)
		record_invalid(rec,
					   "Flags %u are not visibility map bits; they must be between 1 and %d.",
					   clear_vm->flags, VISIBILITYMAP_VALID_BITS);
	if (!BlockNumberIsValid(clear_vm->new_heap_blkno) &&
		!BlockNumberIsValid(clear_vm->old_heap_blkno))
		record_invalid(rec, "The record has neither a new nor an old heap block.");
}

static void
record_check_truncate_vm(const WalredoRecord *rec)
{
	if (rec->u.truncate_vm.trunc_byte >= WALREDO_VM_MAPSIZE)
		record_invalid(rec,
					   "Byte %u is past the end of a map page, which has %d bytes.",
					   rec->u.truncate_vm.trunc_byte,
					   (int) WALREDO_VM_MAPSIZE);
	if (rec->u.truncate_vm.trunc_offs >= BITS_PER_BYTE)
		record_invalid(rec, "Bit %u is past the end of a byte.",
					   rec->u.truncate_vm.trunc_offs);
}

/*
 * Special transactions have no commit status or timestamp of their own.
 */
static void
check_xids(const WalredoRecord *rec, const TransactionId *xids, Size nxids)
{
	for (Size i = 0; i < nxids; i++)
	{
		if (!TransactionIdIsNormal(xids[i]))
			record_invalid(rec, "Transaction ID %u is not a normal transaction ID.", xids[i]);
	}
}

static void
record_check_xids(const WalredoRecord *rec)
{
	check_xids(rec, rec->u.xids, WalredoRecordNXids(rec));
}

static void
record_check_commit_ts(const WalredoRecord *rec)
{
	if (rec->u.commit_ts.origin > PG_UINT16_MAX)
		record_invalid(rec, "Replication origin %u is out of range.",
					   rec->u.commit_ts.origin);
	check_xids(rec, rec->u.commit_ts.xids, WalredoRecordNCommitTsXids(rec));
}

static void
record_check_offset(const WalredoRecord *rec)
{
	if (rec->u.mxact_offset.unused != 0)
		record_invalid(rec, "The padding of the record is not zero.");
	if (!MultiXactIdIsValid(rec->u.mxact_offset.mid))
		record_invalid(rec, "Multixact %u is invalid.",
					   rec->u.mxact_offset.mid);
	if (rec->u.mxact_offset.moff > WALREDO_MAX_MULTIXACT_OFFSET)
		record_invalid(rec, "Offset " UINT64_FORMAT " is out of range.",
					   rec->u.mxact_offset.moff);
}

static void
record_check_members(const WalredoRecord *rec)
{
	const WalredoMultiXactMember *members = rec->u.mxact_members.members;
	Size		nmembers = WalredoRecordNMembers(rec);

	if (rec->u.mxact_members.moff > WALREDO_MAX_MULTIXACT_OFFSET)
		record_invalid(rec, "Offset " UINT64_FORMAT " is out of range.",
					   rec->u.mxact_members.moff);

	/*
	 * All members must be on one page.  With this limit, offsets cannot wrap
	 * around so far that two members have the same place.
	 */
	if (nmembers > WALREDO_MXACT_MEMBERS_PER_PAGE)
		record_invalid(rec, "The record has %zu members, but the limit is %zu.",
					   nmembers, (Size) WALREDO_MXACT_MEMBERS_PER_PAGE);

	for (Size i = 0; i < nmembers; i++)
	{
		if (!TransactionIdIsNormal(members[i].xid))
			record_invalid(rec, "Transaction ID %u is not a normal transaction ID.",
						   members[i].xid);
		if (members[i].status > MaxMultiXactStatus)
			record_invalid(rec, "Status %u of transaction %u is out of range.",
						   members[i].status, members[i].xid);
	}
}

/*
 * Text form: "LSN kind field=value ... tail=value", in the order of the
 * layout.
 */
char *
walredo_record_to_cstring(const WalredoRecord *rec)
{
	const RecordLayout *layout = record_layout(rec);
	const char *tail = rec->u.data + layout->fixed_size;
	Size		tail_size = WalredoRecordBodySize(rec) - layout->fixed_size;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%X/%X %s", LSN_FORMAT_ARGS(rec->lsn),
					 layout->name);

	if (rec->flags & WALREDO_WILL_INIT_GIVEN)
		appendStringInfo(&buf, " will_init=%s",
						 rec->flags & WALREDO_WILL_INIT ? "true" : "false");

	for (int i = 0; i < RECORD_MAX_FIELDS && layout->fields[i].name; i++)
	{
		const RecordField *field = &layout->fields[i];
		uint64		value = record_get_field(rec, field);

		if (field->type == FIELD_BLOCK && value == InvalidBlockNumber)
			continue;
		if (field->type == FIELD_INT64)
			appendStringInfo(&buf, " %s=" INT64_FORMAT, field->name,
							 (int64) value);
		else
			appendStringInfo(&buf, " %s=" UINT64_FORMAT, field->name, value);
	}

	if (layout->tail != TAIL_NONE)
		appendStringInfo(&buf, " %s=", layout->tail_name);
	switch (layout->tail)
	{
		case TAIL_NONE:
			break;
		case TAIL_BYTES:
			appendStringInfoString(&buf, "\\x");
			enlargeStringInfo(&buf, tail_size * 2);
			buf.len += hex_encode(tail, tail_size, buf.data + buf.len);
			buf.data[buf.len] = '\0';
			break;
		case TAIL_XIDS:
			for (Size i = 0; i < tail_size / sizeof(TransactionId); i++)
				appendStringInfo(&buf, "%s%u", i > 0 ? "," : "",
								 ((const TransactionId *) tail)[i]);
			break;
		case TAIL_MEMBERS:
			for (Size i = 0; i < WalredoRecordNMembers(rec); i++)
				appendStringInfo(&buf, "%s%u:%u", i > 0 ? "," : "",
								 rec->u.mxact_members.members[i].xid,
								 rec->u.mxact_members.members[i].status);
			break;
	}
	return buf.data;
}

WalredoRecord *
walredo_record_from_cstring(const char *str)
{
	WalredoParser parser;
	XLogRecPtr	lsn;
	WalredoRecord *rec;
	const RecordLayout *layout;
	int			kind = 0;

	walredo_parse_begin(&parser, "walredo_record", str);

	walredo_parse_blanks(&parser);
	lsn = walredo_parse_hex(&parser, 1, 8, false, "an LSN") << 32;
	walredo_parse_literal(&parser, "/");
	lsn |= walredo_parse_hex(&parser, 1, 8, false, "the rest of an LSN");

	while (!walredo_parse_try_word(&parser, record_layouts[kind].name))
	{
		if (++kind >= WALREDO_RECORD_NKINDS)
		{
			walredo_parse_blanks(&parser);
			walredo_parse_fail(&parser, "a kind of record");
		}
	}
	layout = &record_layouts[kind];
	rec = walredo_record_make(kind, lsn, layout->fixed_size);

	walredo_parse_blanks(&parser);
	if (kind == WALREDO_POSTGRES && walredo_parse_try(&parser, "will_init="))
	{
		rec->flags = WALREDO_WILL_INIT_GIVEN;
		if (walredo_parse_try(&parser, "true"))
			rec->flags |= WALREDO_WILL_INIT;
		else if (!walredo_parse_try(&parser, "false"))
			walredo_parse_fail(&parser, "\"true\" or \"false\"");
		walredo_parse_blanks(&parser);
	}

	for (int i = 0; i < RECORD_MAX_FIELDS && layout->fields[i].name; i++)
	{
		const RecordField *field = &layout->fields[i];
		const char *name_and_sign = psprintf("%s=", field->name);
		uint64		value = 0;

		if (field->type == FIELD_BLOCK)
		{
			if (!walredo_parse_try(&parser, name_and_sign))
			{
				record_set_field(rec, field, InvalidBlockNumber);
				continue;
			}
		}
		else
			walredo_parse_literal(&parser, name_and_sign);

		switch (field->type)
		{
			case FIELD_UINT32:
				value = walredo_parse_number(&parser, PG_UINT32_MAX, "a number");
				break;
			case FIELD_BLOCK:
				value = walredo_parse_number(&parser, MaxBlockNumber,
											 "a block number");
				break;
			case FIELD_UINT64:
				value = walredo_parse_number(&parser, PG_UINT64_MAX, "a number");
				break;
			case FIELD_INT64:
				value = (uint64) walredo_parse_int64(&parser, "a number");
				break;
		}
		record_set_field(rec, field, value);
		walredo_parse_blanks(&parser);
	}

	if (layout->tail != TAIL_NONE)
		rec = record_parse_tail(&parser, rec);
	walredo_parse_end(&parser);

	walredo_record_validate(rec);
	return rec;
}

/*
 * Reads the tail's name and values.  Returns a new record, which also holds
 * what rec had.
 */
static WalredoRecord *
record_parse_tail(WalredoParser *parser, WalredoRecord *rec)
{
	const RecordLayout *layout = record_layout(rec);
	WalredoRecord *result;
	Size		nentries;
	Size		ndigits = 0;
	char	   *tail;

	walredo_parse_literal(parser, psprintf("%s=", layout->tail_name));

	/* Count the entries first, to check the limit before allocating. */
	if (layout->tail == TAIL_BYTES)
	{
		walredo_parse_literal(parser, "\\x");
		ndigits = strspn(parser->at, "0123456789abcdefABCDEF");
		if (ndigits % 2 != 0)
		{
			parser->at += ndigits;
			walredo_parse_fail(parser, "one more hexadecimal digit");
		}
		nentries = ndigits / 2;
	}
	else
	{
		nentries = 1;
		for (const char *p = parser->at; *p != '\0'; p++)
			nentries += (*p == ',');
	}

	result = walredo_record_make(rec->kind, rec->lsn, layout->fixed_size +
								 nentries * tail_entry_sizes[layout->tail]);
	result->flags = rec->flags;
	memcpy(result->u.data, rec->u.data, layout->fixed_size);
	tail = result->u.data + layout->fixed_size;

	if (layout->tail == TAIL_BYTES)
	{
		hex_decode(parser->at, ndigits, tail);
		parser->at += ndigits;
		return result;
	}

	for (Size i = 0; i < nentries; i++)
	{
		TransactionId xid;

		if (i > 0)
			walredo_parse_literal(parser, ",");
		xid = walredo_parse_number(parser, MaxTransactionId, "a transaction ID");
		if (layout->tail == TAIL_XIDS)
			((TransactionId *) tail)[i] = xid;
		else
		{
			WalredoMultiXactMember *member =
				&result->u.mxact_members.members[i];

			member->xid = xid;
			walredo_parse_literal(parser, ":");
			member->status = walredo_parse_number(parser, PG_UINT32_MAX,
												  "a member's status");
		}
	}
	return result;
}

/*
 * Binary form, all big-endian: kind and flags (a byte each), LSN, the fields
 * of the layout (four or eight bytes each), and if the kind has a tail, the
 * number of its entries (four bytes) and the entries.
 */
void
walredo_record_write(StringInfo buf, const WalredoRecord *rec)
{
	const RecordLayout *layout = record_layout(rec);
	const char *tail = rec->u.data + layout->fixed_size;
	Size		tail_size = WalredoRecordBodySize(rec) - layout->fixed_size;

	pq_sendbyte(buf, rec->kind);
	pq_sendbyte(buf, rec->flags);
	pq_sendint64(buf, rec->lsn);

	for (int i = 0; i < RECORD_MAX_FIELDS && layout->fields[i].name; i++)
	{
		const RecordField *field = &layout->fields[i];

		if (FieldIsWide(field))
			pq_sendint64(buf, record_get_field(rec, field));
		else
			pq_sendint32(buf, (uint32) record_get_field(rec, field));
	}

	if (layout->tail == TAIL_NONE)
		return;
	pq_sendint32(buf, tail_size / tail_entry_sizes[layout->tail]);
	if (layout->tail == TAIL_BYTES)
		pq_sendbytes(buf, tail, tail_size);
	else
	{
		/* the others consist of uint32s */
		for (Size i = 0; i < tail_size / sizeof(uint32); i++)
			pq_sendint32(buf, ((const uint32 *) tail)[i]);
	}
}

WalredoRecord *
walredo_record_read(StringInfo buf)
{
	const RecordLayout *layout;
	WalredoRecord *rec;
	XLogRecPtr	lsn;
	Size		left;
	Size		fields_size = 0;
	Size		nentries = 0;
	Size		entry_size;
	uint64		values[RECORD_MAX_FIELDS] = {0};
	uint8		kind;
	uint8		flags;
	int			nfields;

#define record_malformed(...) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), \
			 errmsg("invalid binary form of walredo_record"), \
			 errdetail(__VA_ARGS__)))

	left = buf->len - buf->cursor;
	if (left < RECORD_BINARY_HDRSZ)
		record_malformed("The value has %zu bytes, but a header has %d.",
						 left, RECORD_BINARY_HDRSZ);
	left -= RECORD_BINARY_HDRSZ;
	kind = pq_getmsgbyte(buf);
	flags = pq_getmsgbyte(buf);
	lsn = pq_getmsgint64(buf);
	if (kind >= WALREDO_RECORD_NKINDS)
		record_malformed("Record kind %u does not exist.", kind);
	layout = &record_layouts[kind];
	entry_size = tail_entry_sizes[layout->tail];

	for (nfields = 0;
		 nfields < RECORD_MAX_FIELDS && layout->fields[nfields].name;
		 nfields++)
		fields_size += FieldIsWide(&layout->fields[nfields]) ? 8 : 4;
	if (layout->tail != TAIL_NONE)
		fields_size += 4;
	if (left < fields_size)
		record_malformed("The fields of the record have %zu bytes instead of %zu.",
						 left, fields_size);
	left -= fields_size;
	for (int i = 0; i < nfields; i++)
		values[i] = FieldIsWide(&layout->fields[i]) ?
			(uint64) pq_getmsgint64(buf) : pq_getmsgint(buf, 4);
	if (layout->tail != TAIL_NONE)
		nentries = pq_getmsgint(buf, 4);
	if (left != nentries * entry_size)
		record_malformed("The end of the record has %zu bytes instead of %zu.",
						 left, nentries * entry_size);

#undef record_malformed

	rec = walredo_record_make(kind, lsn, layout->fixed_size + left);
	rec->flags = flags;
	for (int i = 0; i < nfields; i++)
		record_set_field(rec, &layout->fields[i], values[i]);
	if (layout->tail == TAIL_BYTES)
		pq_copymsgbytes(buf, rec->u.data + layout->fixed_size, left);
	else
	{
		uint32	   *tail = (uint32 *) (rec->u.data + layout->fixed_size);

		for (Size i = 0; i < left / sizeof(uint32); i++)
			tail[i] = pq_getmsgint(buf, 4);
	}

	walredo_record_validate(rec);
	return rec;
}
