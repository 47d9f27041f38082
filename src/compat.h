/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the PostgreSQL versions that walredo supports.
 *
 * This is the only file that tests PG_VERSION_NUM.  All other code uses the
 * names of the newest version, and this file defines them for older ones.
 * Where a name is not enough, there is a macro for the difference.
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
#include "utils/relfilenumbermap.h"
#include "varatt.h"

#else

#include "storage/relfilenode.h"
#include "utils/relfilenodemap.h"

/* PostgreSQL 16 renamed the relation's physical address and its fields. */
typedef RelFileNode RelFileLocator;
typedef Oid RelFileNumber;

#define RelFileLocatorEquals(a, b)	RelFileNodeEquals(a, b)
#define RelidByRelfilenumber(tablespace, number) \
	RelidByRelfilenode(tablespace, number)
#define XACT_XINFO_HAS_RELFILELOCATORS	XACT_XINFO_HAS_RELFILENODES
#define RelFileNumberIsValid(number)	OidIsValid(number)
#define RelationMapOidToFilenumber(relid, shared) \
	RelationMapOidToFilenode(relid, shared)

#endif							/* PG_VERSION_NUM */

/* The fields of a RelFileLocator, and the fields that hold one. */
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

/* Since PostgreSQL 17, WAL records have 64-bit page numbers of SLRUs. */
#if PG_VERSION_NUM >= 170000
typedef int64 LoggedSlruPage;
#else
typedef int LoggedSlruPage;
#endif

/*
 * Since PostgreSQL 19, the WAL record of a truncation has only the multixact
 * and the offset that become the oldest ones.
 */
#if PG_VERSION_NUM >= 190000
#define MultiXactTruncateOldest(xlrec)	((xlrec).oldestMulti)
#define MultiXactTruncateOffset(xlrec)	((xlrec).oldestOffset)
#define MultiXactTruncateFirstOffset(xlrec)	0
#else
#define MultiXactTruncateOldest(xlrec)	((xlrec).endTruncOff)
#define MultiXactTruncateOffset(xlrec)	((xlrec).endTruncMemb)
#define MultiXactTruncateFirstOffset(xlrec)	((xlrec).startTruncMemb)
#endif

/*
 * Since PostgreSQL 17, the server can write summaries of its WAL, which begin
 * with this number; 0 if there are none.
 */
#if PG_VERSION_NUM >= 170000
#include "common/blkreftable.h"
#define WALREDO_SUMMARY_MAGIC	BLOCKREFTABLE_MAGIC
#else
#define WALREDO_SUMMARY_MAGIC	0
#endif

/* Since PostgreSQL 17, the owner of a temporary relation is a ProcNumber. */
#if PG_VERSION_NUM < 170000
#define INVALID_PROC_NUMBER		InvalidBackendId
#endif

/* Since PostgreSQL 17, the shared state of transaction IDs has another name. */
#if PG_VERSION_NUM >= 170000
#define WalredoTransamVariables	TransamVariables
#else
#define WalredoTransamVariables	ShmemVariableCache
#endif

/*
 * Is a record of this type of RM_HEAP2_ID one that can remove tuples?  Since
 * PostgreSQL 17, pruning and freezing share a format, whose flags tell what the
 * record does to tuples.  Since 19, it may do nothing to them, but set bits of
 * the visibility map.
 */
#if PG_VERSION_NUM >= 170000
#define walredo_heap2_prunes(op) \
	((op) == XLOG_HEAP2_PRUNE_ON_ACCESS || (op) == XLOG_HEAP2_PRUNE_VACUUM_SCAN)
#define WalredoPruneRemoves(xlrec) \
	(((xlrec).flags & (XLHP_HAS_REDIRECTIONS | XLHP_HAS_DEAD_ITEMS | \
					   XLHP_HAS_NOW_UNUSED_ITEMS)) != 0)
#define WalredoPruneFreezes(xlrec) \
	(((xlrec).flags & XLHP_HAS_FREEZE_PLANS) != 0)
#else
#define walredo_heap2_prunes(op)	((op) == XLOG_HEAP2_PRUNE)
#define WalredoPruneRemoves(xlrec)	((void) (xlrec), true)
#define WalredoPruneFreezes(xlrec)	((void) (xlrec), false)
#endif

/* PostgreSQL 19 has no such records any more, nor others of that number. */
#if PG_VERSION_NUM >= 190000
#define XLOG_HEAP2_VISIBLE		0x40
#endif

/*
 * Since PostgreSQL 19, multixact offsets have 64 bits, and the server has no
 * limit for them.  In SQL they are of type int8, which limits them.
 */
#if PG_VERSION_NUM >= 190000
#define WALREDO_MAX_MULTIXACT_OFFSET	((uint64) PG_INT64_MAX)
#else
#define WALREDO_MAX_MULTIXACT_OFFSET	MaxMultiXactOffset
#endif

/* ... and so have the numbers of their segments, in the names of the files. */
#if PG_VERSION_NUM >= 190000
#define WALREDO_LONG_MEMBER_SEGMENT_NAMES	true
#else
#define WALREDO_LONG_MEMBER_SEGMENT_NAMES	false
#endif

/* PostgreSQL 19 renamed the type of a replication origin's ID. */
#if PG_VERSION_NUM < 190000
#define ReplOriginId			RepOriginId
#define InvalidReplOriginId	InvalidRepOriginId
#endif

/*
 * Before PostgreSQL 19, data checksums can be enabled and disabled only while
 * the server is down.
 */
#define WALREDO_CHECKSUMS_ARE_FIXED	(PG_VERSION_NUM < 190000)

/*
 * Minor releases of 2026 note in a value of a composite type which version of
 * the type it is of, and raise an error if it is of another one.  This is what
 * heap_datum_check() in heaptuple.c does.  A running server may still be of an
 * older minor release than the one that walredo was built for: then it lacks
 * the functions, and does not check anything.
 */
#include "access/htup_details.h"
#ifdef HEAP_IS_DATUM
#include "access/tupdesc.h"

#pragma weak TupleDescGetVersion
#pragma weak TupleDescGetAttrVersion

static inline bool
walredo_version_fits(HeapTupleHeader tuple, TupleDesc tupdesc)
{
	int			natts = HeapTupleHeaderGetNatts(tuple);
	XLogRecPtr	version;

	if (TupleDescGetVersion == NULL || TupleDescGetAttrVersion == NULL ||
		composite_type_mismatch != COMPOSITE_TYPE_MISMATCH_ERROR)
		return true;

	/* An older value has no version: DatumGetHeapTupleHeader() makes it 0. */
	if (!HeapTupleHeaderIsDatum(tuple))
		version = InvalidXLogRecPtr;
	else if (HeapTupleHeaderIsVersionedDatum(tuple))
		version = HeapTupleHeaderGetVersion(tuple);
	else
		return true;
	return natts == 0 || version == TupleDescGetVersion(tupdesc) ||
		(natts < tupdesc->natts &&
		 version == TupleDescGetAttrVersion(tupdesc, natts));
}
#else
#define walredo_version_fits(tuple, tupdesc)	true
#endif

/* Types of PostgreSQL 19; no type has this OID. */
#if PG_VERSION_NUM < 190000
#define OID8OID					InvalidOid
#define REGDATABASEOID			InvalidOid
#endif

/*
 * Items of JSON paths that newer versions have.  In paths of older ones they do
 * not occur: the numbers are greater than an item's type can be.
 */
#if PG_VERSION_NUM < 170000
#define jpiBigint				0x101
#define jpiBoolean				0x102
#define jpiDate					0x103
#define jpiDecimal				0x104
#define jpiInteger				0x105
#define jpiNumber				0x106
#define jpiStringFunc			0x107
#define jpiTime					0x108
#define jpiTimeTz				0x109
#define jpiTimestamp			0x10A
#define jpiTimestampTz			0x10B
#endif
#if PG_VERSION_NUM < 190000
#define jpiStrReplace			0x10C
#define jpiStrLower				0x10D
#define jpiStrUpper				0x10E
#define jpiStrLtrim				0x10F
#define jpiStrRtrim				0x110
#define jpiStrBtrim				0x111
#define jpiStrInitcap			0x112
#define jpiStrSplitPart			0x113
#endif

/* Since PostgreSQL 19, signal handlers have arguments that SIG_IGN lacks. */
#if PG_VERSION_NUM < 190000
#define PG_SIG_IGN				SIG_IGN
#endif

/* Since PostgreSQL 19, the state of a buffer has 64 bits. */
#if PG_VERSION_NUM >= 190000
#define walredo_read_buffer_state(desc)	pg_atomic_read_u64(&(desc)->state)
#else
#define walredo_read_buffer_state(desc)	pg_atomic_read_u32(&(desc)->state)
#endif

/*
 * Connects to a server for queries in a database.  PostgreSQL 16 can insist on
 * a password, and 17 connects without replication, too.
 */
#if PG_VERSION_NUM >= 170000
#define walredo_connect_database(conninfo, name, error) \
	walrcv_connect(conninfo, true, true, false, name, error)
#elif PG_VERSION_NUM >= 160000
#define walredo_connect_database(conninfo, name, error) \
	walrcv_connect(conninfo, true, false, name, error)
#else
#define walredo_connect_database(conninfo, name, error) \
	walrcv_connect(conninfo, true, name, error)
#endif

/* Makes a buffer, which the caller has locked, one that has not been read. */
#if PG_VERSION_NUM >= 190000
#define walredo_invalidate_buffer(desc) \
	UnlockBufHdrExt(desc, LockBufHdr(desc), 0, BM_VALID, 0)
#else
#define walredo_invalidate_buffer(desc) \
	UnlockBufHdr(desc, LockBufHdr(desc) & ~BM_VALID)
#endif

/* Does the server accept what is in a file as this block? */
#if PG_VERSION_NUM >= 180000
#define walredo_page_is_verified(page, blkno) \
	PageIsVerified((PageData *) (page), blkno, 0, NULL)
#else
#define walredo_page_is_verified(page, blkno) \
	PageIsVerifiedExtended((Page) (page), blkno, 0)
#endif

/* How a buffer has to be locked to be written by FlushOneBuffer(). */
#if PG_VERSION_NUM >= 190000
#define WALREDO_BUFFER_LOCK_FLUSH	BUFFER_LOCK_SHARE_EXCLUSIVE
#else
#define WALREDO_BUFFER_LOCK_FLUSH	BUFFER_LOCK_SHARE
#endif

/* Sets the checksum of a page that is not in a buffer, if there are any. */
#if PG_VERSION_NUM >= 190000
#define walredo_set_checksum(page, blkno) \
	PageSetChecksum((Page) (page), blkno)
#else
#define walredo_set_checksum(page, blkno) \
	PageSetChecksumInplace((Page) (page), blkno)
#endif

/* Since PostgreSQL 16, one function checks who owns an object. */
#if PG_VERSION_NUM >= 160000
#define walredo_relation_ownercheck(relid, role) \
	object_ownercheck(RelationRelationId, relid, role)
#else
#define walredo_relation_ownercheck(relid, role) \
	pg_class_ownercheck(relid, role)
#endif

/* Since PostgreSQL 16, pages that are read from files are aligned. */
#if PG_VERSION_NUM < 160000
typedef PGAlignedBlock PGIOAlignedBlock;
#endif

/* Since PostgreSQL 18, this is at the beginning of a declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * Since PostgreSQL 19, the name of a lock tranche is given when the tranche is
 * created, and is kept in shared memory.  Before, each process registers it.
 */
#if PG_VERSION_NUM >= 190000
#define walredo_new_tranche_id(name)	LWLockNewTrancheId(name)
#define walredo_register_tranche(id, name)	((void) (id))
#else
#define walredo_new_tranche_id(name)	LWLockNewTrancheId()
#define walredo_register_tranche(id, name)	LWLockRegisterTranche(id, name)
#endif

/*
 * The number of a wait event.  Before PostgreSQL 17, an extension cannot define
 * wait events, so one of the server's with a similar meaning is used instead.
 */
#if PG_VERSION_NUM >= 170000
#define walredo_wait_event(name, substitute)	WaitEventExtensionNew(name)
#else
#define walredo_wait_event(name, substitute)	(substitute)
#endif

/* Since PostgreSQL 17, a wait event set can belong to a resource owner. */
#if PG_VERSION_NUM >= 170000
#define walredo_create_wait_event_set(n)	CreateWaitEventSet(NULL, n)
#else
#define walredo_create_wait_event_set(n) \
	CreateWaitEventSet(TopMemoryContext, n)
#endif

/* Since PostgreSQL 16, a function reports short reads of temporary files. */
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

/* Since PostgreSQL 16, a caller can do without a copy of a sorted datum. */
#if PG_VERSION_NUM >= 160000
#define walredo_tuplesort_getdatum(state, value, is_null) \
	tuplesort_getdatum(state, true, true, value, is_null, NULL)
#else
#define walredo_tuplesort_getdatum(state, value, is_null) \
	tuplesort_getdatum(state, true, value, is_null, NULL)
#endif

/* Since PostgreSQL 16, there are functions for an index and for an ID. */
#if PG_VERSION_NUM >= 160000
#define walredo_local_beentry(i)	pgstat_get_local_beentry_by_index(i)
#else
#define walredo_local_beentry(i)	pgstat_fetch_stat_local_beentry(i)
#endif

/* Before PostgreSQL 18, no header declares the variable of this setting. */
#if PG_VERSION_NUM < 180000
extern PGDLLIMPORT bool ignore_checksum_failure;
#endif

/* Since PostgreSQL 18, the path of a relation's file comes in a struct. */
#if PG_VERSION_NUM >= 180000
#define walredo_relation_path(locator, forknum) \
	pstrdup(relpathperm(locator, forknum).str)
#else
#define walredo_relation_path(locator, forknum) \
	relpathperm(locator, forknum)
#endif

/*
 * What a query is grouped by, and the path keys of that.  Since PostgreSQL 16,
 * the planner leaves redundant columns out, and has the order of aggregates
 * after them.
 */
#if PG_VERSION_NUM >= 160000
#define WalredoGroupClause(root)	((root)->processed_groupClause)
#define WalredoGroupPathKeys(root) \
	list_copy_head((root)->group_pathkeys, (root)->num_groupby_pathkeys)
#else
#define WalredoGroupClause(root)	((root)->parse->groupClause)
#define WalredoGroupPathKeys(root)	((root)->group_pathkeys)
#endif

/* Since PostgreSQL 16, one function checks privileges on most objects. */
#if PG_VERSION_NUM >= 160000
#define walredo_function_aclcheck(oid, role) \
	object_aclcheck(ProcedureRelationId, oid, role, ACL_EXECUTE)
#else
#define walredo_function_aclcheck(oid, role) \
	pg_proc_aclcheck(oid, role, ACL_EXECUTE)
#endif

/*
 * The size of a relation map, a struct that no header has, and where its
 * checksum is.  PostgreSQL 16 has room for more mappings.
 */
#if PG_VERSION_NUM >= 160000
#define WALREDO_RELMAP_SIZE		524
#define WALREDO_RELMAP_CRC_OFFSET	520
#else
#define WALREDO_RELMAP_SIZE		512
#define WALREDO_RELMAP_CRC_OFFSET	504
#endif

/*
 * The path of the file with the state of a prepared transaction.  Since
 * PostgreSQL 17, its name begins with the transaction's epoch, which follows
 * from the next transaction ID, a FullTransactionId.
 */
#if PG_VERSION_NUM >= 170000
#define walredo_two_phase_path(path, directory, xid, next_xid) \
	snprintf(path, MAXPGPATH, "%s/pg_twophase/%08X%08X", directory, \
			 EpochFromFullTransactionId(next_xid) - \
			 ((xid) >= XidFromFullTransactionId(next_xid) ? 1 : 0), \
			 (uint32) (xid))
#else
#define walredo_two_phase_path(path, directory, xid, next_xid) \
	snprintf(path, MAXPGPATH, "%s/pg_twophase/%08X", directory, \
			 (uint32) (xid))
#endif

/* Since PostgreSQL 18, a server starts processes for I/O by default. */
#if PG_VERSION_NUM >= 180000
#define WALREDO_CHILD_IO_SETTING	"io_method=sync"
#endif

/* Since PostgreSQL 18, scans of indexes have statistics, and since 19 flags. */
#if PG_VERSION_NUM >= 190000
#define walredo_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0)
#elif PG_VERSION_NUM >= 180000
#define walredo_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define walredo_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* Since PostgreSQL 19, a row type has to be completed after its columns. */
#if PG_VERSION_NUM < 190000
#define TupleDescFinalize(tupdesc)	((void) 0)
#endif

/*
 * Completes a column, counted from 1, of a row type that was filled in by hand.
 * PostgreSQL 18 has moved what is derived from it out of the column itself.
 */
#if PG_VERSION_NUM >= 180000
#define walredo_complete_column(tupdesc, attnum) \
	populate_compact_attribute(tupdesc, (attnum) - 1)
#else
#define walredo_complete_column(tupdesc, attnum) \
	((void) (TupleDescAttr(tupdesc, (attnum) - 1)->attcacheoff = -1))
#endif

/* Since PostgreSQL 18, a generated column need not be stored. */
#if PG_VERSION_NUM >= 180000
#define walredo_is_virtual_column(att) \
	((att)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#define walredo_generation_expression(rel, attnum) \
	build_generation_expression(rel, attnum)
#else
#define walredo_is_virtual_column(att)	false
#define walredo_generation_expression(rel, attnum)	((Node *) NULL)
#endif

/*
 * Since PostgreSQL 18, the WAL record of a change in place to a catalog row has
 * invalidation messages.  Redo sends them to other sessions, and deletes files.
 * A wal-redo child must do neither, so this removes the messages.
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
