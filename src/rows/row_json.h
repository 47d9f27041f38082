/*-------------------------------------------------------------------------
 *
 * row_json.h
 *	  Tuples that are not trusted, as jsonb.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/row_json.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_ROW_JSON_H
#define WALREDO_ROWS_ROW_JSON_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "compat.h"

/*
 * Fetches a value that is stored out of line, as walredo_toast_at_fetch() does.
 */
typedef bytea *(*WalredoFetchValue) (void *arg,
									 const struct varatt_external *pointer,
									 const char **problem);

typedef struct WalredoRowJson WalredoRowJson;

/*
 * Prepares to convert rows of a relation, whose columns tupdesc has, which must
 * live as long as the result.  fetch can be NULL: then no value is there that
 * is stored out of line.  The result is allocated in the current memory
 * context.
 */
extern WalredoRowJson *walredo_row_json_create(TupleDesc tupdesc, Oid owner,
											   WalredoFetchValue fetch,
											   void *fetch_arg);

/*
 * Converts a tuple that walredo_heap_tuple() has returned, and sets *result to
 * a jsonb object, as to_jsonb() makes it of a row, in the current memory
 * context. Nothing in the tuple is trusted.  A value that is stored out of
 * line, and is not there, becomes null, and *num_lost is increased; *problem is
 * then set to a sentence that says why.
 *
 * Returns false if the tuple is not sound, or has a value that cannot be
 * converted, and sets *problem to a sentence that says why.
 */
extern bool walredo_row_to_json(WalredoRowJson *json, HeapTupleHeader tuple,
								Size size, Datum *result, int *num_lost,
								const char **problem);

#endif							/* WALREDO_ROWS_ROW_JSON_H */
