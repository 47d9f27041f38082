/*-------------------------------------------------------------------------
 *
 * api.h
 *	  What SQL functions of several files share: a header private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/api.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_API_H
#define WALREDO_API_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "record/tag.h"
#include "wal/reader.h"

/* ERROR 42501 unless the caller may read the server's WAL. */
extern void walredo_check_may_read_wal(void);

/*
 * WARNING that WAL before what the reader reads next was removed before it
 * could be read.
 */
extern void walredo_warn_of_gap(WalredoReader *reader);

/* A text argument as a C string, or NULL for a null. */
extern char *walredo_getarg_cstring(FunctionCallInfo fcinfo, int argno);

/*
 * ERROR 22023 unless an argument of type bytea has the length of a page.  It
 * is not fetched or decompressed for that.
 */
extern void walredo_check_page_length(FunctionCallInfo fcinfo, int argno,
									  const char *argname);

/* The forks of a relation that WAL has pages of. */
#define WALREDO_NUM_LOGGED_FORKS	3
extern const ForkNumber walredo_logged_forks[WALREDO_NUM_LOGGED_FORKS];

/*
 * An argument that is an array of relations as a list of their OIDs, each
 * once.  ERROR 22004 if one of them is null.
 */
extern List *walredo_getarg_relations(FunctionCallInfo fcinfo, int argno);

/*
 * The address of a block of a relation, as it is stored now.  Opens the
 * relation.  ERROR 22023 for a block number that cannot be, 42P01, 42809 or
 * 0A000 for a relation that is not there, has no storage, or is temporary.
 */
extern void walredo_tag_of_relation(Oid relid, const char *forkname,
									int64 blkno, WalredoTag *tag);

#endif							/* WALREDO_API_H */
