/*-------------------------------------------------------------------------
 *
 * diff.h
 *	  Where two images of a page differ.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/diff.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_DIFF_H
#define WALREDO_PAGE_DIFF_H

#include "postgres.h"

/*
 * Finds the next run of bytes in which two images of size bytes differ, from
 * *end on, which the caller sets to 0 for the first.  The run begins at *start
 * and ends before *end.  False if there are no more.
 */
static inline bool
walredo_next_difference(const char *a, const char *b, Size size,
						Size *start, Size *end)
{
	Size		i = *end;

	while (i < size && a[i] == b[i])
		i++;
	*start = i;
	while (i < size && a[i] != b[i])
		i++;
	*end = i;
	return *start < size;
}

#endif							/* WALREDO_PAGE_DIFF_H */
