/*-------------------------------------------------------------------------
 *
 * hole.c
 *	  Page images from whose middle live contents were left out.
 *
 * Code that logs a full image of a page says whether the page has the standard
 * layout, in which all bytes between pd_lower and pd_upper are free.  If it
 * does, these bytes are left out of the image, and replay makes them zeroes.
 *
 * CREATE DATABASE with the strategy wal_log says so of all pages that it copies
 * (RelationCopyStorageUsingBuffer() in src/backend/storage/buffer/bufmgr.c), as
 * it does not know what they are.  Of some pages this is not true: they keep
 * contents in the hole, and the image in WAL lacks them.  Such an image is no
 * page to start from.
 *
 * Which pages these are is told by the access method that made them.  It can be
 * seen at the end of a page, where each access method keeps a mark of its own
 * that the others avoid, so that pg_filedump can tell them apart: see
 * HASHO_PAGE_ID, for example.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/hole.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/brin_page.h"
#include "access/ginblock.h"
#include "access/gist.h"
#include "access/hash.h"
#include "access/nbtree.h"
#include "access/spgist_private.h"
#include "page/hole.h"
#include "storage/bufpage.h"

/*
 * Is a page, of which pd_lower is at the end of the page header, one that has
 * contents right after the header nevertheless?
 *
 * So have metapages, bitmaps, and pages of GIN's posting trees.  Since
 * PostgreSQL 11 their access methods set pd_lower to the end of these contents.
 * Before, they left it where an empty page has it, and pg_upgrade does not
 * change that.
 */
static bool
is_old_special_page(uint16 special_size, const char *special)
{
	uint16		page_id;

	/* GiST and SP-GiST have their mark where others have flags: look first. */
	memcpy(&page_id, special + special_size - sizeof(page_id),
		   sizeof(page_id));
	if (page_id == GIST_PAGE_ID)
		return false;
	if (page_id == SPGIST_PAGE_ID &&
		special_size == MAXALIGN(sizeof(SpGistPageOpaqueData)))
	{
		SpGistPageOpaqueData opaque;

		memcpy(&opaque, special, sizeof(opaque));
		return (opaque.flags & SPGIST_META) != 0;
	}
	if (special_size == MAXALIGN(sizeof(HashPageOpaqueData)))
	{
		HashPageOpaqueData opaque;
		BTPageOpaqueData btree;

		memcpy(&opaque, special, sizeof(opaque));
		if (opaque.hasho_page_id == HASHO_PAGE_ID)
			return (opaque.hasho_flag & (LH_META_PAGE | LH_BITMAP_PAGE)) != 0;
		memcpy(&btree, special, sizeof(btree));
		return (btree.btpo_flags & BTP_META) != 0;
	}
	if (special_size == MAXALIGN(sizeof(GinPageOpaqueData)))
	{
		GinPageOpaqueData opaque;

		memcpy(&opaque, special, sizeof(opaque));
		return (opaque.flags & GIN_META) != 0 ||
			((opaque.flags & GIN_DATA) != 0 && opaque.maxoff > 0);
	}
	return false;
}

bool
walredo_hole_has_contents(ForkNumber forknum, const char *page)
{
	PageHeaderData header;
	uint16		special_size;
	const char *special;

	/* Maps use the whole page, and leave pd_lower as in an empty one. */
	if (forknum == VISIBILITYMAP_FORKNUM || forknum == FSM_FORKNUM)
		return true;

	memcpy(&header, page, SizeOfPageHeaderData);
	if (header.pd_special < SizeOfPageHeaderData ||
		header.pd_special > BLCKSZ - sizeof(uint16))
		return false;
	special_size = BLCKSZ - header.pd_special;
	special = page + header.pd_special;

	/*
	 * A BRIN index's map from ranges to summaries has its contents after the
	 * header, and no version has ever set pd_lower there.
	 */
	if (special_size == MAXALIGN(sizeof(BrinSpecialSpace)))
	{
		BrinSpecialSpace brin;
		uint16		type;

		memcpy(&brin, special, sizeof(brin));
		type = brin.vector[MAXALIGN(1) / sizeof(uint16) - 1];
		if (type == BRIN_PAGETYPE_REVMAP)
			return true;
		if (type == BRIN_PAGETYPE_META)
			return header.pd_lower <= SizeOfPageHeaderData;
	}
	return header.pd_lower <= SizeOfPageHeaderData &&
		is_old_special_page(special_size, special);
}
