/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Checking the insides of values that are not trusted.
 *
 * The functions of a data type trust what is stored: an array that says that it
 * has a million elements is read as far as that.  So a value that comes from a
 * page of unknown origin is checked before anything else sees it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_VALUE_H
#define WALREDO_ROWS_VALUE_H

#include "postgres.h"

typedef struct WalredoValueChecker WalredoValueChecker;

/*
 * Prepares to check values of a type, which is looked up in the server's
 * catalogs, as are the types that it is made of: of domains, arrays, ranges,
 * multiranges and composite types.  The result is allocated in the current
 * memory context.
 */
extern WalredoValueChecker *walredo_value_checker(Oid typid);

/*
 * Is a value, which is not NULL, one that the functions of its type can be
 * given?  A varlena must be in memory as a whole, neither compressed nor stored
 * out of line, and can have a short header.  If not, returns false and sets
 * *problem to a sentence, palloc'd in the current memory context.
 *
 * For types that an extension defines, or a user, nothing can be checked but
 * the length of a cstring and of a varlena.
 */
extern bool walredo_check_value(WalredoValueChecker *checker, Datum value,
								const char **problem);

#endif							/* WALREDO_ROWS_VALUE_H */
