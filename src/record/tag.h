/*-------------------------------------------------------------------------
 *
 * tag.h
 *	  The address of a page, or of another object that is replayed whole.
 *
 * A WalredoTag is also the SQL type walredo_tag, passed by reference and of
 * fixed size, so the struct below is its on-disk form: it has no padding, and
 * fields that a kind does not use are zero, which lets two tags be compared
 * and hashed as they lie in memory.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/tag.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_TAG_H
#define WALREDO_TAG_H

#include "postgres.h"

#include "common/relpath.h"
#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "storage/block.h"

/* Stored on disk: append only. */
typedef enum WalredoTagKind
{
	WALREDO_TAG_REL = 0,		/* a block of a relation's fork */
	WALREDO_TAG_CLOG,			/* a page of pg_xact */
	WALREDO_TAG_MULTIXACT_OFFSETS,	/* a page of pg_multixact/offsets */
	WALREDO_TAG_MULTIXACT_MEMBERS,	/* a page of pg_multixact/members */
	WALREDO_TAG_COMMIT_TS,		/* a page of pg_commit_ts */
	WALREDO_TAG_RELMAP,			/* a pg_filenode.map file */
	WALREDO_TAG_TWOPHASE		/* the state of a prepared transaction */
} WalredoTagKind;

#define WALREDO_TAG_NKINDS	(WALREDO_TAG_TWOPHASE + 1)

typedef struct WalredoTag
{
	uint8		kind;			/* WalredoTagKind */
	uint8		forknum;		/* REL: ForkNumber */
	uint16		unused;			/* always zero */
	Oid			spcOid;			/* REL, RELMAP: tablespace */
	Oid			dbOid;			/* REL, RELMAP: database, or 0 if shared */
	Oid			relNumber;		/* REL: relation file number */

	/*
	 * REL: block number.  SLRUs: page number, counted through all segments.
	 * TWOPHASE: transaction ID.  RELMAP: zero.
	 */
	uint64		number;
} WalredoTag;

StaticAssertDecl(sizeof(WalredoTag) == 24, "walredo_tag is 24 bytes on disk");

#define WalredoTagIsSlru(tag) \
	((tag)->kind >= WALREDO_TAG_CLOG && (tag)->kind <= WALREDO_TAG_COMMIT_TS)

/* Objects that are replayed whole have any length; all others are pages. */
#define WalredoTagIsPage(tag) \
	((tag)->kind <= WALREDO_TAG_COMMIT_TS)

#define DatumGetWalredoTagP(X)	((WalredoTag *) DatumGetPointer(X))
#define PG_GETARG_WALREDO_TAG_P(n)	DatumGetWalredoTagP(PG_GETARG_DATUM(n))
#define PG_RETURN_WALREDO_TAG_P(x)	PG_RETURN_POINTER(x)

/*
 * The kinds of pages that a tag is of, as a set of bits: that of its own kind,
 * and if it is a page of a visibility map, one more.
 */
#define WALREDO_KIND_BIT(kind)	(1 << (kind))
#define WALREDO_VM_BIT			(1 << WALREDO_TAG_NKINDS)

static inline int
walredo_tag_kind_bits(const WalredoTag *tag)
{
	if (tag->kind == WALREDO_TAG_REL && tag->forknum == VISIBILITYMAP_FORKNUM)
		return WALREDO_KIND_BIT(WALREDO_TAG_REL) | WALREDO_VM_BIT;
	return WALREDO_KIND_BIT(tag->kind);
}

/* The tag of a block of a relation, and the relation of such a tag. */
static inline WalredoTag
walredo_tag_of_block(const RelFileLocator *locator, ForkNumber forknum,
					 uint64 blkno)
{
	WalredoTag	tag = {0};

	tag.kind = WALREDO_TAG_REL;
	tag.forknum = forknum;
	tag.spcOid = LocatorSpcOid(*locator);
	tag.dbOid = LocatorDbOid(*locator);
	tag.relNumber = LocatorRelNumber(*locator);
	tag.number = blkno;
	return tag;
}

static inline RelFileLocator
walredo_tag_locator(const WalredoTag *tag)
{
	RelFileLocator locator;

	LocatorSpcOid(locator) = tag->spcOid;
	LocatorDbOid(locator) = tag->dbOid;
	LocatorRelNumber(locator) = tag->relNumber;
	return locator;
}

/* True if two tags name blocks of one fork of one relation. */
static inline bool
walredo_tag_same_fork(const WalredoTag *a, const WalredoTag *b)
{
	return a->kind == WALREDO_TAG_REL && b->kind == WALREDO_TAG_REL &&
		a->relNumber == b->relNumber && a->dbOid == b->dbOid &&
		a->spcOid == b->spcOid && a->forknum == b->forknum;
}

/*
 * The text form, as pg_waldump would print it.  Results are palloc'd; ERROR
 * 22P02 for text that is not exactly a tag.
 */
extern char *walredo_tag_to_cstring(const WalredoTag *tag);
extern WalredoTag *walredo_tag_from_cstring(const char *str);

/*
 * The binary form: fixed size, big-endian.  The result is palloc'd; ERROR
 * 22P03 unless the rest of buf is exactly a valid tag.
 */
extern void walredo_tag_write(StringInfo buf, const WalredoTag *tag);
extern WalredoTag *walredo_tag_read(StringInfo buf);

/* True if the fields of a tag are within their limits. */
extern bool walredo_tag_is_valid(const WalredoTag *tag);

/*
 * The directory of an SLRU in a data directory, and the name that the server
 * gives to the segment file of one of its pages.  The name is palloc'd.
 */
extern const char *walredo_slru_directory(WalredoTagKind kind);
extern char *walredo_slru_segment_name(const WalredoTag *tag);

/* Orders by kind, tablespace, database, relation, fork, number. */
extern int	walredo_tag_compare(const WalredoTag *a, const WalredoTag *b);

/* ----------------------------------------
 * Slices
 * ----------------------------------------
 *
 * Pages can be dealt out to several servers by a hash of their tags.  A slice
 * is the share of one of them.  All zeroes stands for all pages.
 */
typedef struct WalredoSlice
{
	uint32		number;			/* from 0 on, and less than count */
	uint32		count;			/* of slices; 0 and 1 mean that all pages are
								 * in this one */
} WalredoSlice;

/* The hash of the type's hash operator class, with a seed. */
extern uint64 walredo_tag_hash_value(const WalredoTag *tag, uint64 seed);

extern bool walredo_slice_has_hashed(const WalredoSlice *slice,
									 const WalredoTag *tag);

/*
 * Is a page in a slice?  This is so if it belongs to the partition FOR VALUES
 * WITH (MODULUS count, REMAINDER number) of a table that is PARTITION BY HASH
 * of tags.
 */
static inline bool
walredo_slice_has(const WalredoSlice *slice, const WalredoTag *tag)
{
	return slice->count <= 1 || walredo_slice_has_hashed(slice, tag);
}

#endif							/* WALREDO_TAG_H */
