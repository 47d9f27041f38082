/*-------------------------------------------------------------------------
 *
 * tuple.h
 *	  Reading tuples out of pages that are not trusted.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/tuple.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_TUPLE_H
#define WALREDO_ROWS_TUPLE_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "storage/bufpage.h"

/*
 * Is a page of BLCKSZ bytes one of a heap, whose line pointers can be read?
 * Sets *max_offnum to the number of them, 0 for a page that is all zeroes.
 * Otherwise returns false and sets *problem to a sentence, palloc'd.
 */
extern bool walredo_check_heap_page(const char *page,
									OffsetNumber *max_offnum,
									const char **problem);

/*
 * The tuple at a line pointer of a page that has passed the check above.
 * Returns NULL if there is none: the line pointer is unused, dead, or a
 * redirection; or if it is not sound, and then *problem, which is otherwise set
 * to NULL, is a sentence, palloc'd.  *size is set to the length of the tuple.
 *
 * What is checked is what check_tuple_header() in verify_heapam.c does: that
 * the tuple is in the page as a whole, and that its header fits its length.
 * Moreover, no other tuple of the page may share bytes with it.
 */
extern HeapTupleHeader walredo_heap_tuple(const char *page,
										  OffsetNumber offnum, Size *size,
										  const char **problem);

/*
 * Does the header of a tuple of size bytes fit its length?  The tuple, which
 * can also be a value of a composite type, must be MAXALIGNed.  Otherwise,
 * returns false and sets *problem to a sentence, palloc'd.
 */
extern bool walredo_check_tuple_header(HeapTupleHeader tuple, Size size,
									   const char **problem);

/*
 * Deforms a tuple that walredo_heap_tuple() has returned, as
 * heap_deform_tuple() does, but without trusting it: each attribute is checked
 * to be in the tuple as a whole, as by check_tuple_attribute() in
 * verify_heapam.c.  Attributes that the tuple is too short for get their
 * missing value, or NULL.  Dropped attributes are NULL.
 *
 * Values by reference point into the tuple.  A varlena can have a short header,
 * or be compressed, or be a pointer to what is stored out of line on disk (but
 * no other pointer); all of them are in the tuple as a whole.  Returns false
 * and sets *problem to a sentence, palloc'd, if the tuple is not sound.
 */
extern bool walredo_deform_tuple(TupleDesc tupdesc, HeapTupleHeader tuple,
								 Size size, Datum *values, bool *nulls,
								 const char **problem);

/*
 * How an attribute, an element of an array, or a bound of a range is laid out.
 */
typedef struct WalredoAttributeLayout
{
	int16		typlen;
	bool		typbyval;
	char		typalign;

	/* Is a varlena with a short header aligned, too?  It is in arrays. */
	bool		is_always_aligned;
} WalredoAttributeLayout;

/*
 * Reads a value that begins, but for padding, at *offset of a buffer of size
 * bytes, as fetch_att() does, and sets *offset to its end.  Offsets are
 * aligned, addresses need not be.  The value, if it is by reference, points
 * into the buffer, and is in it as a whole, in one of the forms above.  Returns
 * false and sets *problem to a sentence, palloc'd, if it is not.
 */
extern bool walredo_read_attribute(const char *buffer, Size size, Size *offset,
								   const WalredoAttributeLayout *layout,
								   Datum *value, const char **problem);

#endif							/* WALREDO_ROWS_TUPLE_H */
