/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the PostgreSQL versions that walredo builds with.
 *
 * This is the only file that tests PG_VERSION_NUM.  Code elsewhere uses the
 * newest server's name for a thing, and this file makes the name good on the
 * older ones.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_COMPAT_H
#define WALREDO_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "walredo needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM >= 160000

#include "storage/relfilelocator.h"
#include "varatt.h"

#else

#include "storage/relfilenode.h"

/* PostgreSQL 16 renamed the relation's physical address and its fields. */
typedef RelFileNode RelFileLocator;
typedef Oid RelFileNumber;

#endif							/* PG_VERSION_NUM */

#if PG_VERSION_NUM < 160000
#define RelFileLocatorEquals(a, b)	RelFileNodeEquals(a, b)
#define XACT_XINFO_HAS_RELFILELOCATORS	XACT_XINFO_HAS_RELFILENODES
#endif

/* The fields of a RelFileLocator, and where one is found. */
#if PG_VERSION_NUM >= 160000
#define LocatorSpcOid(locator)	((locator).spcOid)
#define LocatorDbOid(locator)	((locator).dbOid)
#define LocatorRelNumber(locator)	((locator).relNumber)
#define RelationGetLocator(rel)	((rel)->rd_locator)
#define BlockLocator(block)		((block)->rlocator)
#define SmgrTruncateLocator(xlrec)	((xlrec).rlocator)
#define SmgrCreateLocator(xlrec)	((xlrec).rlocator)
#else
#define LocatorSpcOid(locator)	((locator).spcNode)
#define LocatorDbOid(locator)	((locator).dbNode)
#define LocatorRelNumber(locator)	((locator).relNode)
#define RelationGetLocator(rel)	((rel)->rd_node)
#define BlockLocator(block)		((block)->rnode)
#define SmgrTruncateLocator(xlrec)	((xlrec).rnode)
#define SmgrCreateLocator(xlrec)	((xlrec).rnode)
#endif

/* PostgreSQL 17 logs the page numbers of SLRUs with 64 bits. */
#if PG_VERSION_NUM >= 170000
typedef int64 LoggedSlruPage;
#else
typedef int LoggedSlruPage;
#endif

/* PostgreSQL 19 logs only what becomes the oldest multixact and offset. */
#if PG_VERSION_NUM >= 190000
#define MultiXactTruncateOldest(xlrec)	((xlrec).oldestMulti)
#define MultiXactTruncateOffset(xlrec)	((xlrec).oldestOffset)
#define MultiXactTruncateFirstOffset(xlrec)	0
#else
#define MultiXactTruncateOldest(xlrec)	((xlrec).endTruncOff)
#define MultiXactTruncateOffset(xlrec)	((xlrec).endTruncMemb)
#define MultiXactTruncateFirstOffset(xlrec)	((xlrec).startTruncMemb)
#endif

/* PostgreSQL 17 numbers processes, and so names a temp relation's owner. */
#if PG_VERSION_NUM < 170000
#define INVALID_PROC_NUMBER		InvalidBackendId
#endif

/*
 * PostgreSQL 19 widened multixact offsets to 64 bits, and needs no limit for
 * them.  In SQL, they are an int8.
 */
#if PG_VERSION_NUM >= 190000
#define WALREDO_MAX_MULTIXACT_OFFSET	((uint64) PG_INT64_MAX)
#else
#define WALREDO_MAX_MULTIXACT_OFFSET	MaxMultiXactOffset
#endif

/* PostgreSQL 19 spells the type of a replication origin's ID out. */
#if PG_VERSION_NUM < 190000
#define ReplOriginId			RepOriginId
#define InvalidReplOriginId	InvalidRepOriginId
#endif

/* PostgreSQL 19 has signal handlers with more arguments. */
#if PG_VERSION_NUM < 190000
#define PG_SIG_IGN				SIG_IGN
#endif

/* PostgreSQL 19 keeps a buffer's locks and pins in 64 bits. */
#if PG_VERSION_NUM >= 190000
#define walredo_read_buffer_state(desc)	pg_atomic_read_u64(&(desc)->state)
#else
#define walredo_read_buffer_state(desc)	pg_atomic_read_u32(&(desc)->state)
#endif

/* PostgreSQL 19 keeps the names of lock tranches itself. */
#if PG_VERSION_NUM >= 190000
#define walredo_new_tranche_id(name)	LWLockNewTrancheId(name)
#define walredo_register_tranche(id, name)	((void) (id))
#else
#define walredo_new_tranche_id(name)	LWLockNewTrancheId()
#define walredo_register_tranche(id, name)	LWLockRegisterTranche(id, name)
#endif

/*
 * A wait event's number.  Before PostgreSQL 17 extensions have none of their
 * own, and one of the server's that means much the same takes its place.
 */
#if PG_VERSION_NUM >= 170000
#define walredo_wait_event(name, substitute)	WaitEventExtensionNew(name)
#else
#define walredo_wait_event(name, substitute)	(substitute)
#endif

/* PostgreSQL 17 ties a wait event set to a resource owner. */
#if PG_VERSION_NUM >= 170000
#define walredo_create_wait_event_set(n)	CreateWaitEventSet(NULL, n)
#else
#define walredo_create_wait_event_set(n) \
	CreateWaitEventSet(TopMemoryContext, n)
#endif

/* PostgreSQL 16 reports short reads of temporary files by itself. */
#if PG_VERSION_NUM >= 160000
#define walredo_buffile_read_exact(file, ptr, size) \
	BufFileReadExact(file, ptr, size)
#else
#define walredo_buffile_read_exact(file, ptr, size) \
	do { \
		if (BufFileRead(file, ptr, size) != (size)) \
			ereport(ERROR, \
					(errcode_for_file_access(), \
					 errmsg("could not read from temporary file"))); \
	} while (0)
#endif

/* PostgreSQL 16 tells an index from a backend's ID. */
#if PG_VERSION_NUM >= 160000
#define walredo_local_beentry(i)	pgstat_get_local_beentry_by_index(i)
#else
#define walredo_local_beentry(i)	pgstat_fetch_stat_local_beentry(i)
#endif

/* PostgreSQL 18 declares this setting's variable in a header. */
#if PG_VERSION_NUM < 180000
extern PGDLLIMPORT bool ignore_checksum_failure;
#endif

/* PostgreSQL 18 returns the path of a relation's file in a struct. */
#if PG_VERSION_NUM >= 180000
#define walredo_relation_path(locator, forknum) \
	pstrdup(relpathperm(locator, forknum).str)
#else
#define walredo_relation_path(locator, forknum) \
	relpathperm(locator, forknum)
#endif

/* PostgreSQL 16 has one function for the rights to all sorts of objects. */
#if PG_VERSION_NUM >= 160000
#define walredo_function_aclcheck(oid, role) \
	object_aclcheck(ProcedureRelationId, oid, role, ACL_EXECUTE)
#else
#define walredo_function_aclcheck(oid, role) \
	pg_proc_aclcheck(oid, role, ACL_EXECUTE)
#endif

/* PostgreSQL 18 would start processes for I/O. */
#if PG_VERSION_NUM >= 180000
#define WALREDO_CHILD_IO_SETTING	"io_method=sync"
#endif

/*
 * PostgreSQL 18 logs with a change in place (of a catalog's row) what other
 * sessions have to forget, and redo tells them and deletes files.
 */
#if PG_VERSION_NUM >= 180000
#define walredo_forget_inplace_messages(data, size) \
	do { \
		if ((size) >= MinSizeOfHeapInplace) \
			((xl_heap_inplace *) (data))->nmsgs = 0; \
	} while (0)
#else
#define walredo_forget_inplace_messages(data, size)	((void) 0)
#endif

#endif							/* WALREDO_COMPAT_H */
