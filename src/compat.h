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

#else

#include "storage/relfilenode.h"

/* PostgreSQL 16 renamed the relation's physical address and its fields. */
typedef RelFileNode RelFileLocator;
typedef Oid RelFileNumber;

#endif							/* PG_VERSION_NUM */

/* The fields of a RelFileLocator. */
#if PG_VERSION_NUM >= 160000
#define LocatorSpcOid(locator)	((locator).spcOid)
#define LocatorDbOid(locator)	((locator).dbOid)
#define LocatorRelNumber(locator)	((locator).relNumber)
#define RelationGetLocator(rel)	((rel)->rd_locator)
#else
#define LocatorSpcOid(locator)	((locator).spcNode)
#define LocatorDbOid(locator)	((locator).dbNode)
#define LocatorRelNumber(locator)	((locator).relNode)
#define RelationGetLocator(rel)	((rel)->rd_node)
#endif

#endif							/* WALREDO_COMPAT_H */
