/*-------------------------------------------------------------------------
 *
 * visibilitymap.c
 *	  Native changes to pages of a relation's visibility map.
 *
 * Like the server's own redo, neither change sets the page's LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/visibilitymap.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "native/pages.h"
#include "record/visibilitymap.h"
#include "storage/bufpage.h"

static uint8 *visibilitymap_bytes(char *page);
static bool visibilitymap_clear_block(const WalredoTag *tag, uint8 *map,
									  BlockNumber heap_blkno, uint8 flags);

/*
 * The bitmap of the page.  A new page is initialized first, as vm_readbuf()
 * does.  The page may be in a bytea, where it is not aligned as a header has
 * to be.
 */
static uint8 *
visibilitymap_bytes(char *page)
{
	PageHeaderData header;

	memcpy(&header, page, sizeof(header));
	if (PageIsNew((Page) &header))
	{
		PGAlignedBlock block;

		PageInit((Page) block.data, BLCKSZ, 0);
		memcpy(page, block.data, BLCKSZ);
	}
	return (uint8 *) PageGetContents((Page) page);
}

/*
 * Clears bits of one heap block, as visibilitymap_clear() does.  False if
 * there is no such block, or if it belongs to another page of the map.
 */
static bool
visibilitymap_clear_block(const WalredoTag *tag, uint8 *map,
						  BlockNumber heap_blkno, uint8 flags)
{
	if (!BlockNumberIsValid(heap_blkno) ||
		walredo_vm_page(heap_blkno) != tag->number)
		return false;
	map[walredo_vm_byte(heap_blkno)] &=
		~(flags << walredo_vm_bit(heap_blkno));
	return true;
}

/*
 * Clears bits of one or two heap blocks.  When an update moves a row to
 * another heap block, the two may belong to different pages of the map, so it
 * is enough that one of them belongs to this one.
 */
void
walredo_visibilitymap_clear_apply(const WalredoTag *tag,
								  const WalredoRecord *rec, char *page)
{
	const WalredoClearVisibilityMapFlags *clear_vm = &rec->u.clear_vm;
	uint8	   *map = visibilitymap_bytes(page);
	bool		new_here;
	bool		old_here;

	new_here = visibilitymap_clear_block(tag, map, clear_vm->new_heap_blkno,
										 clear_vm->flags);
	old_here = visibilitymap_clear_block(tag, map, clear_vm->old_heap_blkno,
										 clear_vm->flags);
	if (!new_here && !old_here)
		walredo_not_on_page(tag, rec, "Heap block",
							BlockNumberIsValid(clear_vm->new_heap_blkno) ?
							clear_vm->new_heap_blkno :
							clear_vm->old_heap_blkno);
}

/*
 * Clears the tail of the page, as visibilitymap_prepare_truncate() does.
 */
void
walredo_visibilitymap_truncate_apply(const WalredoTag *tag,
									 const WalredoRecord *rec, char *page)
{
	uint8	   *map = visibilitymap_bytes(page);
	uint32		trunc_byte = rec->u.truncate_vm.trunc_byte;
	uint32		trunc_offs = rec->u.truncate_vm.trunc_offs;

	memset(&map[trunc_byte + 1], 0, WALREDO_VM_MAPSIZE - (trunc_byte + 1));
	map[trunc_byte] &= (1 << trunc_offs) - 1;
}
