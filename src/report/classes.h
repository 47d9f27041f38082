/*-------------------------------------------------------------------------
 *
 * classes.h
 *	  What the bytes of a page are.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/classes.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_CLASSES_H
#define WALREDO_REPORT_CLASSES_H

#include "postgres.h"

#include "access/rmgr.h"
#include "record/tag.h"
#include "report/html.h"
#include "report/xids.h"

/* What bytes are: an index of walredo_byte_keys. */
typedef enum WalredoByteClass
{
	WALREDO_BYTES_FREE,
	WALREDO_BYTES_HEADER,
	WALREDO_BYTES_LP,
	WALREDO_BYTES_LP_REDIRECT,
	WALREDO_BYTES_LP_DEAD,
	WALREDO_BYTES_LP_UNUSED,
	WALREDO_BYTES_ALIVE,		/* tuples of a table */
	WALREDO_BYTES_LOCKED,
	WALREDO_BYTES_DEAD,
	WALREDO_BYTES_OPEN,
	WALREDO_BYTES_UNKNOWN,
	WALREDO_BYTES_ITEM,			/* tuples of an index */
	WALREDO_BYTES_POSTING,
	WALREDO_BYTES_PIVOT,
	WALREDO_BYTES_ITEM_DEAD,
	WALREDO_BYTES_CONTENTS,		/* bytes that have no line pointers */
	WALREDO_BYTES_LOST,
	WALREDO_BYTES_SPECIAL,
	WALREDO_BYTES_BROKEN
} WalredoByteClass;

#define WALREDO_BYTES_NCLASSES	(WALREDO_BYTES_BROKEN + 1)

/* How each class is drawn, and what it is called. */
extern const WalredoHtmlKey walredo_byte_keys[WALREDO_BYTES_NCLASSES];

/* What a page looks like. */
typedef enum WalredoPageLook
{
	WALREDO_LOOK_BYTES,			/* no header: a page of an SLRU, or a file */
	WALREDO_LOOK_CONTENTS,		/* a header, but no line pointers */
	WALREDO_LOOK_ITEMS,			/* line pointers to tuples of an index */
	WALREDO_LOOK_BTREE,
	WALREDO_LOOK_HEAP
} WalredoPageLook;

/* The columns that tell of a tuple what only its sort has. */
#define WALREDO_PART_CELLS		4

/* A part of a page: bytes that belong together. */
typedef struct WalredoPagePart
{
	WalredoByteClass class;
	int			offset;
	int			length;
	int			item;			/* its line pointer's number, or 0 */
	int			data;			/* where its data begins in the page, or 0 */
	bool		is_shared;		/* bytes of two tuples */

	/*
	 * If labels are wanted: what it is, as the name of a field or a sentence
	 * without its end; and what a tuple or field has, each can be NULL.
	 */
	const char *name;
	const char *cells[WALREDO_PART_CELLS];
} WalredoPagePart;

/* All parts of a page. */
typedef struct WalredoPageParts
{
	WalredoPageLook look;
	int			size;			/* of the page, at most BLCKSZ */
	bool		with_labels;
	WalredoPagePart *parts;
	int			nparts;
	int			max_parts;
	uint16		map[BLCKSZ];	/* the part of each byte */

	/* What the cells of the tuples are, NULL for those that are not used. */
	const char *cell_names[WALREDO_PART_CELLS];

	int			nproblems;		/* what is wrong */
	List	   *problems;		/* the first of them, if labels are wanted:
								 * sentences, of char * */
} WalredoPageParts;

#define WalredoPartOfByte(p, offset)	(&(p)->parts[(p)->map[offset]])

/*
 * What does a page look like?  rmid is the resource manager that it belongs to,
 * or -1 if that is not known.  page has BLCKSZ bytes, unless the tag is of
 * something that is no page.
 */
extern WalredoPageLook walredo_look_of_page(const WalredoTag *tag, int rmid,
											const char *page, int size);

/*
 * Finds out what each byte of a page is.  Nothing in the page is trusted, and
 * nothing in it raises an error: bytes that two line pointers have, or that are
 * where they cannot be, are WALREDO_BYTES_BROKEN.
 *
 * Transactions are looked up in xids: see walredo_xid_state().  The result,
 * which is palloc'd, does not refer to the page.
 */
extern WalredoPageParts *walredo_classify_page(WalredoPageLook look,
											   const char *page, int size,
											   WalredoXids *xids,
											   bool with_labels);

extern void walredo_free_parts(WalredoPageParts *parts);

#endif							/* WALREDO_REPORT_CLASSES_H */
