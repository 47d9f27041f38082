/*-------------------------------------------------------------------------
 *
 * tag.c
 *	  The address of a page: its text and binary forms.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/tag.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "common/hashfn.h"
#include "libpq/pqformat.h"

#include "record/parse.h"
#include "record/slru.h"
#include "record/tag.h"

/* kind, forknum, three OIDs, number */
#define TAG_BINARY_SIZE	(1 + 1 + 3 * 4 + 8)

/*
 * An SLRU of the server.  last_page is the page of the highest transaction,
 * multixact or member there can be.
 */
typedef struct TagSlruInfo
{
	const char *directory;
	uint64		last_page;
} TagSlruInfo;

/* In the order of WalredoTagKind. */
static const TagSlruInfo tag_slrus[] = {
	{
		"pg_xact", MaxTransactionId / WALREDO_CLOG_XACTS_PER_PAGE
	},
	{
		"pg_multixact/offsets", MaxMultiXactId / WALREDO_MXACT_OFFSETS_PER_PAGE
	},
	{
		"pg_multixact/members",
		WALREDO_MAX_MULTIXACT_OFFSET / WALREDO_MXACT_MEMBERS_PER_PAGE
	},
	{
		"pg_commit_ts", MaxTransactionId / WALREDO_COMMIT_TS_XACTS_PER_PAGE
	}
};

#define TagSlru(tag)	(&tag_slrus[(tag)->kind - WALREDO_TAG_CLOG])

static void tag_parse_rel(WalredoParser *parser, WalredoTag *tag);
static void tag_parse_slru(WalredoParser *parser, WalredoTag *tag);

/*
 * Reads the text form.  Returns a palloc'd tag.  ERROR 22P02 for anything that
 * is not exactly a tag.
 */
WalredoTag *
walredo_tag_from_cstring(const char *str)
{
	WalredoTag *tag = palloc0(sizeof(WalredoTag));
	WalredoParser parser;

	walredo_parse_begin(&parser, "walredo_tag", str);

	if (walredo_parse_try_word(&parser, "rel"))
		tag_parse_rel(&parser, tag);
	else if (walredo_parse_try_word(&parser, "slru"))
		tag_parse_slru(&parser, tag);
	else if (walredo_parse_try_word(&parser, "relmap"))
	{
		tag->kind = WALREDO_TAG_RELMAP;
		walredo_parse_blanks(&parser);
		tag->spcOid = walredo_parse_number(&parser, OID_MAX, "a tablespace OID");
		walredo_parse_literal(&parser, "/");
		tag->dbOid = walredo_parse_number(&parser, OID_MAX, "a database OID");
	}
	else if (walredo_parse_try_word(&parser, "twophase"))
	{
		tag->kind = WALREDO_TAG_TWOPHASE;
		walredo_parse_blanks(&parser);
		tag->number = walredo_parse_number(&parser, MaxTransactionId,
										   "a transaction ID");
	}
	else
	{
		walredo_parse_blanks(&parser);
		walredo_parse_fail(&parser, "\"rel\", \"slru\", \"relmap\" or \"twophase\"");
	}
	walredo_parse_end(&parser);

	if (!walredo_tag_is_valid(tag))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type walredo_tag: \"%s\"",
						walredo_tag_to_cstring(tag)),
				 tag->kind == WALREDO_TAG_TWOPHASE ?
				 errdetail("A prepared transaction has an ID of at least %u.",
						   FirstNormalTransactionId) :
				 errdetail("Tablespace and relation must not be 0.")));
	return tag;
}

/*
 * What follows "rel": 1663/5/16384 [fork vm] blk 7
 */
static void
tag_parse_rel(WalredoParser *parser, WalredoTag *tag)
{
	tag->kind = WALREDO_TAG_REL;
	walredo_parse_blanks(parser);
	tag->spcOid = walredo_parse_number(parser, OID_MAX, "a tablespace OID");
	walredo_parse_literal(parser, "/");
	tag->dbOid = walredo_parse_number(parser, OID_MAX, "a database OID");
	walredo_parse_literal(parser, "/");
	tag->relNumber = walredo_parse_number(parser, OID_MAX,
										  "a relation file number");
	if (walredo_parse_try_word(parser, "fork"))
	{
		int			forknum = 0;

		while (!walredo_parse_try_word(parser, forkNames[forknum]))
		{
			if (++forknum > MAX_FORKNUM)
			{
				walredo_parse_blanks(parser);
				walredo_parse_fail(parser, "a fork name");
			}
		}
		tag->forknum = forknum;
	}
	walredo_parse_word(parser, "blk");
	walredo_parse_blanks(parser);
	tag->number = walredo_parse_number(parser, MaxBlockNumber, "a block number");
}

/*
 * What follows "slru": pg_xact/0000 blk 3
 *
 * The segment's name must be one that SlruFileName() in slru.c could have
 * written; since PostgreSQL 17 some have 15 digits with leading zeroes.
 */
static void
tag_parse_slru(WalredoParser *parser, WalredoTag *tag)
{
	const char *start;
	uint64		last_page;
	uint64		segment;
	uint64		page;

	tag->kind = WALREDO_TAG_CLOG;
	walredo_parse_blanks(parser);
	while (!walredo_parse_try(parser, TagSlru(tag)->directory))
	{
		if (++tag->kind > WALREDO_TAG_COMMIT_TS)
			walredo_parse_fail(parser, "an SLRU's directory");
	}
	last_page = TagSlru(tag)->last_page;

	walredo_parse_literal(parser, "/");
	start = parser->at;
	segment = walredo_parse_hex(parser, 4, 15, true, "an SLRU segment's name");
	if (segment > last_page / SLRU_PAGES_PER_SEGMENT)
	{
		parser->at = start;
		walredo_parse_fail(parser,
						   psprintf("a segment of at most %04llX",
									(unsigned long long)
									(last_page / SLRU_PAGES_PER_SEGMENT)));
	}

	walredo_parse_word(parser, "blk");
	walredo_parse_blanks(parser);
	start = parser->at;
	page = walredo_parse_number(parser, SLRU_PAGES_PER_SEGMENT - 1,
								"a page number");
	tag->number = segment * SLRU_PAGES_PER_SEGMENT + page;
	if (tag->number > last_page)
	{
		int			last = (int) (last_page % SLRU_PAGES_PER_SEGMENT);

		parser->at = start;
		walredo_parse_fail(parser, psprintf("a page number of at most %d",
											last));
	}
}

/*
 * The text form, palloc'd.  The tag need not be valid, but its kind must be.
 */
char *
walredo_tag_to_cstring(const WalredoTag *tag)
{
	switch ((WalredoTagKind) tag->kind)
	{
		case WALREDO_TAG_REL:
			return psprintf("rel %u/%u/%u%s%s blk " UINT64_FORMAT,
							tag->spcOid, tag->dbOid, tag->relNumber,
							tag->forknum == MAIN_FORKNUM ? "" : " fork ",
							tag->forknum == MAIN_FORKNUM ? "" :
							forkNames[tag->forknum],
							tag->number);
		case WALREDO_TAG_CLOG:
		case WALREDO_TAG_MULTIXACT_OFFSETS:
		case WALREDO_TAG_MULTIXACT_MEMBERS:
		case WALREDO_TAG_COMMIT_TS:
			return psprintf("slru %s/%04llX blk %d", TagSlru(tag)->directory,
							(unsigned long long)
							(tag->number / SLRU_PAGES_PER_SEGMENT),
							(int) (tag->number % SLRU_PAGES_PER_SEGMENT));
		case WALREDO_TAG_RELMAP:
			return psprintf("relmap %u/%u", tag->spcOid, tag->dbOid);
		case WALREDO_TAG_TWOPHASE:
			return psprintf("twophase " UINT64_FORMAT, tag->number);
	}
	elog(ERROR, "unrecognized kind of walredo_tag: %d", tag->kind);
	return NULL;				/* keep compiler quiet */
}

/*
 * Writes the binary form: kind, forknum, spcOid, dbOid, relNumber and number,
 * each as wide as in the struct.
 */
void
walredo_tag_write(StringInfo buf, const WalredoTag *tag)
{
	pq_sendbyte(buf, tag->kind);
	pq_sendbyte(buf, tag->forknum);
	pq_sendint32(buf, tag->spcOid);
	pq_sendint32(buf, tag->dbOid);
	pq_sendint32(buf, tag->relNumber);
	pq_sendint64(buf, tag->number);
}

/*
 * Reads the binary form.  Returns a palloc'd tag.  ERROR 22P03 unless the rest
 * of buf is exactly a valid one.
 */
WalredoTag *
walredo_tag_read(StringInfo buf)
{
	WalredoTag *tag = palloc0(sizeof(WalredoTag));

	if (buf->len - buf->cursor != TAG_BINARY_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary form of walredo_tag"),
				 errdetail("The value has %d bytes instead of %d.",
						   buf->len - buf->cursor, TAG_BINARY_SIZE)));

	tag->kind = pq_getmsgbyte(buf);
	tag->forknum = pq_getmsgbyte(buf);
	tag->spcOid = pq_getmsgint(buf, 4);
	tag->dbOid = pq_getmsgint(buf, 4);
	tag->relNumber = pq_getmsgint(buf, 4);
	tag->number = pq_getmsgint64(buf);

	if (!walredo_tag_is_valid(tag))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary form of walredo_tag"),
				 errdetail("Kind %u, fork %u, relation %u/%u/%u and number "
						   UINT64_FORMAT " are not the address of a page.",
						   tag->kind, tag->forknum, tag->spcOid, tag->dbOid,
						   tag->relNumber, tag->number)));
	return tag;
}

/*
 * True if the kind is known, its fields are within their limits, and the
 * fields that it does not use are zero.
 */
bool
walredo_tag_is_valid(const WalredoTag *tag)
{
	if (tag->unused != 0)
		return false;
	if (tag->kind == WALREDO_TAG_REL)
		return tag->forknum <= MAX_FORKNUM && OidIsValid(tag->spcOid) &&
			OidIsValid(tag->relNumber) && tag->number <= MaxBlockNumber;

	if (tag->forknum != 0 || tag->relNumber != 0)
		return false;
	if (tag->kind == WALREDO_TAG_RELMAP)
		return OidIsValid(tag->spcOid) && tag->number == 0;

	if (tag->spcOid != 0 || tag->dbOid != 0)
		return false;
	if (tag->kind == WALREDO_TAG_TWOPHASE)
		return tag->number >= FirstNormalTransactionId &&
			tag->number <= MaxTransactionId;
	return WalredoTagIsSlru(tag) && tag->number <= TagSlru(tag)->last_page;
}

const char *
walredo_slru_directory(WalredoTagKind kind)
{
	Assert(kind >= WALREDO_TAG_CLOG && kind <= WALREDO_TAG_COMMIT_TS);
	return tag_slrus[kind - WALREDO_TAG_CLOG].directory;
}

/* As SlruFileName() in src/backend/access/transam/slru.c. */
char *
walredo_slru_segment_name(const WalredoTag *tag)
{
	unsigned long long segment = tag->number / SLRU_PAGES_PER_SEGMENT;
	bool		is_long = tag->kind == WALREDO_TAG_MULTIXACT_MEMBERS &&
		WALREDO_LONG_MEMBER_SEGMENT_NAMES;

	return psprintf(is_long ? "%015llX" : "%04llX", segment);
}

/*
 * Less than, equal to or greater than zero, as a stands before, at or after b.
 * The pages of one fork follow each other.
 */
int
walredo_tag_compare(const WalredoTag *a, const WalredoTag *b)
{
#define COMPARE(field) \
	if (a->field != b->field) \
		return a->field < b->field ? -1 : 1

	COMPARE(kind);
	COMPARE(spcOid);
	COMPARE(dbOid);
	COMPARE(relNumber);
	COMPARE(forknum);
	COMPARE(number);
	return 0;

#undef COMPARE
}

/* The struct has no padding, so it is hashed as it lies in memory. */
uint64
walredo_tag_hash_value(const WalredoTag *tag, uint64 seed)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) tag,
											sizeof(WalredoTag), seed));
}

/*
 * As compute_partition_hash_value() in
 * src/backend/partitioning/partbounds.c, for a key that is a tag.
 */
bool
walredo_slice_has_hashed(const WalredoSlice *slice, const WalredoTag *tag)
{
	uint64		hash = walredo_tag_hash_value(tag, HASH_PARTITION_SEED);

	return hash_combine64(0, hash) % slice->count == slice->number;
}
