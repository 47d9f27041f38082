/*-------------------------------------------------------------------------
 *
 * visibilitymap.h
 *	  Where PostgreSQL keeps which heap block's bits in a visibility map.
 *
 * The server keeps this arithmetic private to
 * src/backend/access/heap/visibilitymap.c.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/visibilitymap.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VISIBILITYMAP_H
#define WALREDO_VISIBILITYMAP_H

#include "postgres.h"

#include "access/visibilitymapdefs.h"
#include "storage/block.h"
#include "storage/bufpage.h"

#define WALREDO_VM_MAPSIZE	(BLCKSZ - MAXALIGN(SizeOfPageHeaderData))
#define WALREDO_VM_HEAPBLOCKS_PER_BYTE	(BITS_PER_BYTE / BITS_PER_HEAPBLOCK)
#define WALREDO_VM_HEAPBLOCKS_PER_PAGE \
	(WALREDO_VM_MAPSIZE * WALREDO_VM_HEAPBLOCKS_PER_BYTE)

/* The page of the map, the byte on it, and the first bit in that byte. */
static inline BlockNumber
walredo_vm_page(BlockNumber heap_blkno)
{
	return heap_blkno / WALREDO_VM_HEAPBLOCKS_PER_PAGE;
}

static inline uint32
walredo_vm_byte(BlockNumber heap_blkno)
{
	return heap_blkno % WALREDO_VM_HEAPBLOCKS_PER_PAGE /
		WALREDO_VM_HEAPBLOCKS_PER_BYTE;
}

static inline uint32
walredo_vm_bit(BlockNumber heap_blkno)
{
	return heap_blkno % WALREDO_VM_HEAPBLOCKS_PER_BYTE * BITS_PER_HEAPBLOCK;
}

#endif							/* WALREDO_VISIBILITYMAP_H */
