/*-------------------------------------------------------------------------
 *
 * classes.c
 *	  What the bytes of a page are.
 *
 * Each part of the page, such as a field of its header, a line pointer or a
 * tuple, claims its bytes in a map of the page, which has one entry for each
 * byte.  So bytes that two of them claim are found without comparing all with
 * all, and what nobody claims is found as well.  This needs no trust in what
 * the page says: an offset is used only after it was compared with the page's
 * size.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/classes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/brin_page.h"
#include "access/ginblock.h"
#include "access/hash.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/spgist_private.h"
#include "compat.h"
#include "report/classes.h"
#include "storage/bufpage.h"

/* The most problems that are kept as sentences. */
#define MAX_PROBLEMS		6

const WalredoHtmlKey walredo_byte_keys[WALREDO_BYTES_NCLASSES] = {
	[WALREDO_BYTES_FREE] = {"k-free", NULL, "free space"},
	[WALREDO_BYTES_HEADER] = {"k-header", NULL, "page header"},
	[WALREDO_BYTES_LP] = {"k-lp", NULL, "line pointer, normal"},
	[WALREDO_BYTES_LP_REDIRECT] = {"k-lp-redirect", NULL,
	"line pointer, redirects"},
	[WALREDO_BYTES_LP_DEAD] = {"k-lp-dead", NULL, "line pointer, dead"},
	[WALREDO_BYTES_LP_UNUSED] = {"k-lp-unused", NULL, "line pointer, unused"},
	[WALREDO_BYTES_ALIVE] = {"k-alive", "A", "tuple, alive"},
	[WALREDO_BYTES_LOCKED] = {"k-locked", "L", "tuple, alive and locked"},
	[WALREDO_BYTES_DEAD] = {"k-dead", "D", "tuple, dead"},
	[WALREDO_BYTES_OPEN] = {"k-open", "O",
	"tuple of a transaction that is open"},
	[WALREDO_BYTES_UNKNOWN] = {"k-unknown", "?",
	"tuple, not known whether alive"},
	[WALREDO_BYTES_ITEM] = {"k-data", "I", "index tuple"},
	[WALREDO_BYTES_POSTING] = {"k-posting", "P", "posting list"},
	[WALREDO_BYTES_PIVOT] = {"k-pivot", "H", "high key or downlink"},
	[WALREDO_BYTES_ITEM_DEAD] = {"k-dead", "D", "index tuple, dead"},
	[WALREDO_BYTES_CONTENTS] = {"k-data", NULL, "contents"},
	[WALREDO_BYTES_LOST] = {"k-lost", NULL,
	"between tuples, no line pointer has it"},
	[WALREDO_BYTES_SPECIAL] = {"k-special", NULL, "special space"},
	[WALREDO_BYTES_BROKEN] = {"k-broken", "!", "cannot be what it should be"}
};

/* ----------------------------------------
 * Parts
 * ----------------------------------------
 */

/* Adds a part, which has no bytes yet. */
static int
add_part(WalredoPageParts *parts, WalredoByteClass class, int offset,
		 int length, int item, const char *name)
{
	WalredoPagePart *part;

	if (parts->nparts == parts->max_parts)
	{
		parts->max_parts *= 2;
		parts->parts = repalloc(parts->parts,
								parts->max_parts * sizeof(WalredoPagePart));
	}
	part = &parts->parts[parts->nparts];
	memset(part, 0, sizeof(WalredoPagePart));
	part->class = class;
	part->offset = offset;
	part->length = length;
	part->item = item;
	part->name = name;
	return parts->nparts++;
}

/* Adds a part, and gives it its bytes, which are in the page. */
static WalredoPagePart *
put_part(WalredoPageParts *parts, WalredoByteClass class, int offset,
		 int length, int item, const char *name)
{
	int			number = add_part(parts, class, offset, length, item, name);

	for (int i = offset; i < offset + length; i++)
		parts->map[i] = number;
	return &parts->parts[number];
}

/* Takes note of a problem, which is NULL if labels are not wanted. */
static void
add_problem(WalredoPageParts *parts, char *problem)
{
	if (++parts->nproblems <= MAX_PROBLEMS && problem != NULL)
		parts->problems = lappend(parts->problems, problem);
}

/* psprintf(), if labels are wanted. */
#define LABEL(parts, ...) \
	((parts)->with_labels ? psprintf(__VA_ARGS__) : NULL)

/* Takes note of a problem; format as for psprintf(). */
#define PROBLEM(parts, ...) add_problem(parts, LABEL(parts, __VA_ARGS__))

/*
 * Adds a part for a run of bytes that nobody has claimed, for each such run in
 * a range.
 */
static void
put_rest(WalredoPageParts *parts, int begin, int end, WalredoByteClass class,
		 const char *name)
{
	while (begin < end)
	{
		int			next = begin;

		while (next < end && parts->map[next] == 0)
			next++;
		if (next > begin)
			put_part(parts, class, begin, next - begin, 0, name);
		begin = Max(next, begin + 1);
	}
}

/* ----------------------------------------
 * What a page looks like
 * ----------------------------------------
 */

/* Copies the end of the page, if its special space is just that long. */
static bool
copy_special(const char *page, void *special, Size size)
{
	const PageHeaderData *header = (const PageHeaderData *) page;

	if (header->pd_special != BLCKSZ - MAXALIGN(size))
		return false;
	memcpy(special, page + header->pd_special, size);
	return true;
}

WalredoPageLook
walredo_look_of_page(const WalredoTag *tag, int rmid, const char *page,
					 int size)
{
	GinPageOpaqueData gin;
	HashPageOpaqueData hash;
	SpGistPageOpaqueData spgist;
	BrinSpecialSpace brin;

	if (tag->kind != WALREDO_TAG_REL || size != BLCKSZ)
		return WALREDO_LOOK_BYTES;
	if (tag->forknum != MAIN_FORKNUM && tag->forknum != INIT_FORKNUM)
		return WALREDO_LOOK_CONTENTS;
	switch (rmid)
	{
		case RM_HEAP_ID:
		case RM_HEAP2_ID:
		case RM_SEQ_ID:
			return WALREDO_LOOK_HEAP;
		case RM_BTREE_ID:
			return WALREDO_LOOK_BTREE;
		case RM_GIST_ID:
			return WALREDO_LOOK_ITEMS;
		case RM_GIN_ID:
			return copy_special(page, &gin, sizeof(gin)) &&
				(gin.flags & (GIN_DATA | GIN_META)) == 0 ?
				WALREDO_LOOK_ITEMS : WALREDO_LOOK_CONTENTS;
		case RM_HASH_ID:
			return copy_special(page, &hash, sizeof(hash)) &&
				(hash.hasho_flag & (LH_META_PAGE | LH_BITMAP_PAGE)) == 0 ?
				WALREDO_LOOK_ITEMS : WALREDO_LOOK_CONTENTS;
		case RM_SPGIST_ID:
			return copy_special(page, &spgist, sizeof(spgist)) &&
				(spgist.flags & SPGIST_META) == 0 ?
				WALREDO_LOOK_ITEMS : WALREDO_LOOK_CONTENTS;
		case RM_BRIN_ID:
			return copy_special(page, &brin, sizeof(brin)) &&
				brin.vector[MAXALIGN(1) / sizeof(uint16) - 1] ==
				BRIN_PAGETYPE_REGULAR ?
				WALREDO_LOOK_ITEMS : WALREDO_LOOK_CONTENTS;
		default:
			return WALREDO_LOOK_CONTENTS;
	}
}

/* ----------------------------------------
 * Tuples of tables
 * ----------------------------------------
 */

/* A transaction, or multixact, and its state. */
static const char *
xid_cell(const WalredoPageParts *parts, TransactionId xid, const char *state)
{
	return LABEL(parts, "%u (%s)", xid, state);
}

/* The names of the bits of a tuple's header that are set. */
static const char *
infomask_names(uint16 infomask, uint16 infomask2)
{
	static const struct
	{
		uint16		bit;
		const char *name;
	}			names[] =
	{
		{HEAP_HASNULL, "HASNULL"},
		{HEAP_HASEXTERNAL, "HASEXTERNAL"},
		{HEAP_XMIN_COMMITTED, "XMIN_COMMITTED"},
		{HEAP_XMIN_INVALID, "XMIN_INVALID"},
		{HEAP_XMAX_COMMITTED, "XMAX_COMMITTED"},
		{HEAP_XMAX_INVALID, "XMAX_INVALID"},
		{HEAP_XMAX_IS_MULTI, "XMAX_IS_MULTI"},
		{HEAP_XMAX_LOCK_ONLY, "XMAX_LOCK_ONLY"},
		{HEAP_UPDATED, "UPDATED"},
		{HEAP_MOVED, "MOVED"}
	};
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(names); i++)
	{
		if ((infomask & names[i].bit) != 0)
			appendStringInfo(&buf, " %s", names[i].name);
	}
	if ((infomask2 & HEAP_HOT_UPDATED) != 0)
		appendStringInfoString(&buf, " HOT_UPDATED");
	if ((infomask2 & HEAP_ONLY_TUPLE) != 0)
		appendStringInfoString(&buf, " ONLY_TUPLE");
	return buf.len > 0 ? buf.data + 1 : buf.data;
}

/* What has become of the transaction that has inserted a tuple. */
static WalredoXidState
state_of_xmin(const HeapTupleHeaderData *tuple, WalredoXids *xids)
{
	uint16		infomask = tuple->t_infomask;

	if ((infomask & HEAP_MOVED) != 0)
		return WALREDO_XID_UNKNOWN;
	if ((infomask & HEAP_XMIN_COMMITTED) != 0)
		return WALREDO_XID_COMMITTED;
	if ((infomask & HEAP_XMIN_INVALID) != 0)
		return WALREDO_XID_ABORTED;
	return walredo_xid_state(xids, tuple->t_choice.t_heap.t_xmin);
}

/* The same of the one that has deleted or updated it.  *xmax can be 0. */
static WalredoXidState
state_of_xmax(const HeapTupleHeaderData *tuple, WalredoXids *xids,
			  TransactionId *xmax)
{
	uint16		infomask = tuple->t_infomask;

	*xmax = tuple->t_choice.t_heap.t_xmax;
	if ((infomask & HEAP_XMAX_INVALID) != 0)
		*xmax = InvalidTransactionId;
	if (!TransactionIdIsValid(*xmax))
		return WALREDO_XID_ABORTED;
	if ((infomask & HEAP_XMAX_IS_MULTI) != 0)
	{
		if (!walredo_multi_updater(xids, *xmax, xmax))
			return WALREDO_XID_UNKNOWN;
		return TransactionIdIsValid(*xmax) ? walredo_xid_state(xids, *xmax) :
			WALREDO_XID_ABORTED;
	}
	if ((infomask & HEAP_XMAX_COMMITTED) != 0)
		return WALREDO_XID_COMMITTED;
	return walredo_xid_state(xids, *xmax);
}

/*
 * Finds out what a tuple of a table is.  Mirrors HeapTupleSatisfiesMVCC() in
 * heapam_visibility.c, for what is known now.
 */
static void
classify_heap_tuple(WalredoPageParts *parts, int number, const char *page,
					WalredoXids *xids)
{
	WalredoPagePart *part = &parts->parts[number];
	HeapTupleHeaderData tuple;
	WalredoXidState inserted;
	WalredoXidState deleted;
	TransactionId raw_xmax;
	TransactionId xmax;
	bool		is_locked;

	if (part->length < SizeofHeapTupleHeader)
	{
		part->class = WALREDO_BYTES_BROKEN;
		PROBLEM(parts, "Tuple %d has %d bytes, less than its header.",
				part->item, part->length);
		return;
	}
	memcpy(&tuple, page + part->offset, SizeofHeapTupleHeader);
	raw_xmax = tuple.t_choice.t_heap.t_xmax;
	inserted = state_of_xmin(&tuple, xids);
	is_locked = (tuple.t_infomask & HEAP_XMAX_INVALID) == 0 &&
		TransactionIdIsValid(raw_xmax) &&
		(HEAP_XMAX_IS_LOCKED_ONLY(tuple.t_infomask) ||
		 HEAP_LOCKED_UPGRADED(tuple.t_infomask));
	deleted = is_locked ? WALREDO_XID_ABORTED :
		state_of_xmax(&tuple, xids, &xmax);

	if (inserted == WALREDO_XID_ABORTED)
		part->class = WALREDO_BYTES_DEAD;
	else if (inserted == WALREDO_XID_IN_PROGRESS)
		part->class = WALREDO_BYTES_OPEN;
	else if (deleted == WALREDO_XID_COMMITTED)
		part->class = WALREDO_BYTES_DEAD;
	else if (inserted == WALREDO_XID_UNKNOWN || deleted == WALREDO_XID_UNKNOWN)
		part->class = WALREDO_BYTES_UNKNOWN;
	else if (deleted == WALREDO_XID_IN_PROGRESS)
		part->class = WALREDO_BYTES_OPEN;
	else
		part->class = is_locked ? WALREDO_BYTES_LOCKED : WALREDO_BYTES_ALIVE;

	if (tuple.t_hoff < SizeofHeapTupleHeader || tuple.t_hoff > part->length)
	{
		part->class = WALREDO_BYTES_BROKEN;
		PROBLEM(parts, "The attributes of tuple %d begin at byte %d of its %d bytes.",
				part->item, tuple.t_hoff, part->length);
	}
	else
		part->data = part->offset + tuple.t_hoff;
	if (!parts->with_labels)
		return;
	part->cells[0] = xid_cell(parts, tuple.t_choice.t_heap.t_xmin,
							  (tuple.t_infomask & HEAP_XMIN_FROZEN) ==
							  HEAP_XMIN_FROZEN ? "frozen" :
							  walredo_xid_state_name(inserted));
	if (!TransactionIdIsValid(raw_xmax))
		part->cells[1] = "0";
	else if ((tuple.t_infomask & HEAP_XMAX_INVALID) != 0)
		part->cells[1] = xid_cell(parts, raw_xmax, "of no effect");
	else if (is_locked)
		part->cells[1] = xid_cell(parts, raw_xmax,
								  (tuple.t_infomask & HEAP_XMAX_IS_MULTI) ?
								  "multixact, locks only" : "locks only");
	else if ((tuple.t_infomask & HEAP_XMAX_IS_MULTI) != 0 &&
			 !TransactionIdIsValid(xmax))
		part->cells[1] = xid_cell(parts, raw_xmax,
								  deleted == WALREDO_XID_UNKNOWN ?
								  "multixact, members not known" :
								  "multixact, nobody updates it");
	else if ((tuple.t_infomask & HEAP_XMAX_IS_MULTI) != 0)
		part->cells[1] = LABEL(parts, "%u (multixact; %u updates it: %s)",
							   raw_xmax, xmax, walredo_xid_state_name(deleted));
	else
		part->cells[1] = xid_cell(parts, xmax, walredo_xid_state_name(deleted));
	part->cells[2] = LABEL(parts, "(%u,%u)",
						   ItemPointerGetBlockNumberNoCheck(&tuple.t_ctid),
						   ItemPointerGetOffsetNumberNoCheck(&tuple.t_ctid));
	part->cells[3] = infomask_names(tuple.t_infomask, tuple.t_infomask2);
}

/* ----------------------------------------
 * Tuples of indexes
 * ----------------------------------------
 */

/* What the special space of a B-tree page says. */
typedef struct BtreePage
{
	bool		is_known;
	BTPageOpaqueData opaque;
} BtreePage;

/*
 * Finds out what a tuple of a B-tree is, from nbtree.h: one that tells where a
 * page ends or where to go on, one of a row, or one of several.
 */
static void
classify_btree_tuple(WalredoPageParts *parts, int number, const char *page,
					 const BtreePage *btree, bool is_dead)
{
	WalredoPagePart *part = &parts->parts[number];
	IndexTupleData tuple;
	unsigned	offset;
	bool		is_alternative;
	bool		is_pivot;

	if (part->length < sizeof(IndexTupleData))
	{
		part->class = WALREDO_BYTES_BROKEN;
		PROBLEM(parts, "Tuple %d has %d bytes, less than its header.",
				part->item, part->length);
		return;
	}
	memcpy(&tuple, page + part->offset, sizeof(tuple));
	offset = ItemPointerGetOffsetNumberNoCheck(&tuple.t_tid);
	is_alternative = (tuple.t_info & INDEX_ALT_TID_MASK) != 0;
	is_pivot = btree->is_known &&
		((btree->opaque.btpo_flags & BTP_LEAF) == 0 ||
		 (part->item == P_HIKEY && btree->opaque.btpo_next != P_NONE));

	if (is_pivot)
		part->class = WALREDO_BYTES_PIVOT;
	else if (is_alternative && (offset & BT_IS_POSTING) != 0)
		part->class = WALREDO_BYTES_POSTING;
	else
		part->class = WALREDO_BYTES_ITEM;
	if (is_dead)
		part->class = WALREDO_BYTES_ITEM_DEAD;
	if ((tuple.t_info & INDEX_SIZE_MASK) > MAXALIGN(part->length))
	{
		part->class = WALREDO_BYTES_BROKEN;
		PROBLEM(parts, "Tuple %d says that it has %d bytes, but its line pointer says %d.",
				part->item, tuple.t_info & INDEX_SIZE_MASK, part->length);
	}
	part->data = part->offset + sizeof(tuple);
	part->cells[0] = LABEL(parts, "(%u,%u)",
						   ItemPointerGetBlockNumberNoCheck(&tuple.t_tid),
						   offset);
	part->cells[1] = LABEL(parts, "%d", tuple.t_info & INDEX_SIZE_MASK);
	if (part->class == WALREDO_BYTES_POSTING)
		part->cells[2] = LABEL(parts, "%u rows", offset & BT_OFFSET_MASK);
	else if (is_pivot)
		part->cells[2] = (btree->opaque.btpo_flags & BTP_LEAF) != 0 ||
			(part->item == P_HIKEY && btree->opaque.btpo_next != P_NONE) ?
			"high key" :
			LABEL(parts, "downlink to block %u",
				  ItemPointerGetBlockNumberNoCheck(&tuple.t_tid));
}

/* ----------------------------------------
 * Line pointers
 * ----------------------------------------
 */

/*
 * Gives a tuple its bytes.  Those that another one has are a part of their own;
 * that of the first two, if there are more, so that there are never more such
 * parts than bytes.  What the tuple's length was rounded up to belongs to it as
 * well.
 */
static void
claim_tuple(WalredoPageParts *parts, int number, int special)
{
	WalredoPagePart *part = &parts->parts[number];
	int			item = part->item;
	int			end = part->offset + part->length;
	int			other = 0;
	int			shared = 0;

	for (int i = part->offset; i < end; i++)
	{
		if (parts->map[i] == 0)
		{
			parts->map[i] = number;
			shared = 0;
		}
		else if (!WalredoPartOfByte(parts, i)->is_shared)
		{
			if (shared == 0 || parts->map[i] != other)
			{
				int			other_item = WalredoPartOfByte(parts, i)->item;

				other = parts->map[i];
				shared = add_part(parts, WALREDO_BYTES_BROKEN, i, 0, item,
								  LABEL(parts, "bytes of line pointers %d and %d",
										other_item, item));
				PROBLEM(parts, "Line pointers %d and %d have the same bytes, from byte %d on.",
						other_item, item, i);
				parts->parts[shared].is_shared = true;
			}
			parts->parts[shared].length++;
			parts->map[i] = shared;
		}
	}
	for (int i = end; i < Min(MAXALIGN(end), special); i++)
	{
		if (parts->map[i] == 0)
			parts->map[i] = number;
	}
}

/* A line pointer, and the tuple that it points to. */
static void
classify_line_pointer(WalredoPageParts *parts, const char *page, int item,
					  int nitems, const BtreePage *btree, WalredoXids *xids)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	const ItemIdData *lp = &header->pd_linp[item - 1];
	int			offset = ItemIdGetOffset(lp);
	int			length = ItemIdGetLength(lp);
	WalredoByteClass class = WALREDO_BYTES_BROKEN;
	const char *state = "";
	bool		has_tuple = false;
	int			number;

	switch (ItemIdGetFlags(lp))
	{
		case LP_UNUSED:
			class = WALREDO_BYTES_LP_UNUSED;
			state = "unused";
			break;
		case LP_REDIRECT:
			class = WALREDO_BYTES_LP_REDIRECT;
			state = LABEL(parts, "redirects to line pointer %d", offset);
			if (offset < 1 || offset > nitems)
			{
				class = WALREDO_BYTES_BROKEN;
				PROBLEM(parts, "Line pointer %d redirects to line pointer %d, but there are only %d.",
						item, offset, nitems);
			}
			break;
		case LP_DEAD:
			class = WALREDO_BYTES_LP_DEAD;
			state = "dead";
			has_tuple = (length > 0);
			break;
		case LP_NORMAL:
			class = WALREDO_BYTES_LP;
			state = LABEL(parts, "to bytes %d to %d", offset,
						  offset + length - 1);
			has_tuple = true;
			break;
	}
	if (has_tuple && (length == 0 || offset < header->pd_upper ||
					  offset + length > header->pd_special))
	{
		class = WALREDO_BYTES_BROKEN;
		has_tuple = false;
		state = LABEL(parts, "to %d bytes from byte %d on, where no tuple can be",
					  length, offset);
		PROBLEM(parts, "Line pointer %d has offset %d and length %d, but tuples are from byte %d to byte %d.",
				item, offset, length, header->pd_upper, header->pd_special);
	}
	put_part(parts, class, (const char *) lp - page, sizeof(ItemIdData), item,
			 LABEL(parts, "line pointer %d, %s", item, state));
	if (!has_tuple)
		return;

	number = add_part(parts, WALREDO_BYTES_ITEM, offset, length, item,
					  LABEL(parts, "tuple %d", item));
	if (parts->look == WALREDO_LOOK_HEAP)
		classify_heap_tuple(parts, number, page, xids);
	else if (parts->look == WALREDO_LOOK_BTREE)
		classify_btree_tuple(parts, number, page, btree, ItemIdIsDead(lp));
	else if (ItemIdIsDead(lp))
		parts->parts[number].class = WALREDO_BYTES_ITEM_DEAD;
	claim_tuple(parts, number, header->pd_special);
}

/* ----------------------------------------
 * The page
 * ----------------------------------------
 */

/* Adds the bytes of a range that are not zero, as contents. */
static void
put_contents(WalredoPageParts *parts, const char *page, int begin, int end)
{
	for (int i = begin; i < end; i++)
	{
		int			next = i;

		while (next < end && page[next] != 0)
			next++;
		if (next > i)
			put_part(parts, WALREDO_BYTES_CONTENTS, i, next - i, 0, NULL);
		i = next;
	}
}

/* Adds a field, which is size bytes at an offset. */
static void
put_field(WalredoPageParts *parts, WalredoByteClass class, int offset, int size,
		  const char *name, const char *value)
{
	put_part(parts, class, offset, size, 0, name)->cells[0] = value;
}

/* The fields of the page header. */
static void
classify_header(WalredoPageParts *parts, const char *page)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	XLogRecPtr	lsn = PageGetLSN((Page) page);
	const WalredoByteClass class = WALREDO_BYTES_HEADER;

#define FIELD(field, ...) \
	put_field(parts, class, offsetof(PageHeaderData, field), \
			  sizeof(header->field), #field, LABEL(parts, __VA_ARGS__))

	FIELD(pd_lsn, "%X/%X", LSN_FORMAT_ARGS(lsn));
	FIELD(pd_checksum, "%d", (int16) header->pd_checksum);
	FIELD(pd_flags, "0x%04X%s%s%s", header->pd_flags,
		  (header->pd_flags & PD_HAS_FREE_LINES) ? " HAS_FREE_LINES" : "",
		  (header->pd_flags & PD_PAGE_FULL) ? " PAGE_FULL" : "",
		  (header->pd_flags & PD_ALL_VISIBLE) ? " ALL_VISIBLE" : "");
	FIELD(pd_lower, "%u", header->pd_lower);
	FIELD(pd_upper, "%u", header->pd_upper);
	FIELD(pd_special, "%u", header->pd_special);
	FIELD(pd_pagesize_version, "%u, version %u",
		  header->pd_pagesize_version & 0xFF00,
		  header->pd_pagesize_version & 0x00FF);
	FIELD(pd_prune_xid, "%u", header->pd_prune_xid);
#undef FIELD
	if (header->pd_pagesize_version != (BLCKSZ | PG_PAGE_LAYOUT_VERSION))
		PROBLEM(parts, "The page's size and layout version are %u and %u, not %u and %u.",
				header->pd_pagesize_version & 0xFF00,
				header->pd_pagesize_version & 0x00FF,
				BLCKSZ, PG_PAGE_LAYOUT_VERSION);
	if ((header->pd_flags & ~PD_VALID_FLAG_BITS) != 0)
		PROBLEM(parts, "The page has unknown flags 0x%X.",
				header->pd_flags & ~PD_VALID_FLAG_BITS);
}

/* The special space of a B-tree page. */
static void
classify_btree_special(WalredoPageParts *parts, const char *page,
					   BtreePage *btree)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	const BTPageOpaqueData *opaque = &btree->opaque;
	int			offset = header->pd_special;

	btree->is_known = copy_special(page, &btree->opaque,
								   sizeof(BTPageOpaqueData));
	if (!btree->is_known)
	{
		PROBLEM(parts, "The special space begins at byte %d, which is not that of a B-tree page.",
				offset);
		return;
	}

#define FIELD(field, ...) \
	put_field(parts, WALREDO_BYTES_SPECIAL, \
			  offset + offsetof(BTPageOpaqueData, field), \
			  sizeof(opaque->field), #field, LABEL(parts, __VA_ARGS__))

	FIELD(btpo_prev, "%u", opaque->btpo_prev);
	FIELD(btpo_next, "%u", opaque->btpo_next);
	FIELD(btpo_level, "%u", opaque->btpo_level);
	FIELD(btpo_flags, "0x%04X%s%s%s%s%s%s%s", opaque->btpo_flags,
		  (opaque->btpo_flags & BTP_LEAF) ? " LEAF" : "",
		  (opaque->btpo_flags & BTP_ROOT) ? " ROOT" : "",
		  (opaque->btpo_flags & BTP_META) ? " META" : "",
		  (opaque->btpo_flags & BTP_DELETED) ? " DELETED" : "",
		  (opaque->btpo_flags & BTP_HALF_DEAD) ? " HALF_DEAD" : "",
		  (opaque->btpo_flags & BTP_SPLIT_END) ? " SPLIT_END" : "",
		  (opaque->btpo_flags & BTP_INCOMPLETE_SPLIT) ?
		  " INCOMPLETE_SPLIT" : "");
	FIELD(btpo_cycleid, "%u", opaque->btpo_cycleid);
#undef FIELD
}

/* The contents of the B-tree's metapage. */
static void
classify_btree_meta(WalredoPageParts *parts, const char *page)
{
	BTMetaPageData meta;
	const int	offset = MAXALIGN(SizeOfPageHeaderData);

	memcpy(&meta, page + offset, sizeof(meta));

#define FIELD(field, ...) \
	put_field(parts, WALREDO_BYTES_CONTENTS, \
			  offset + offsetof(BTMetaPageData, field), \
			  sizeof(meta.field), #field, LABEL(parts, __VA_ARGS__))

	FIELD(btm_magic, "0x%06X", meta.btm_magic);
	FIELD(btm_version, "%u", meta.btm_version);
	FIELD(btm_root, "%u", meta.btm_root);
	FIELD(btm_level, "%u", meta.btm_level);
	FIELD(btm_fastroot, "%u", meta.btm_fastroot);
	FIELD(btm_fastlevel, "%u", meta.btm_fastlevel);
	FIELD(btm_last_cleanup_num_delpages, "%u",
		  meta.btm_last_cleanup_num_delpages);
#undef FIELD
	if (meta.btm_magic != BTREE_MAGIC)
		PROBLEM(parts, "The metapage has magic number 0x%X, not 0x%X.",
				meta.btm_magic, BTREE_MAGIC);
}

/* A page whose header says where everything is. */
static void
classify_body(WalredoPageParts *parts, const char *page, WalredoXids *xids)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	int			lower = header->pd_lower;
	int			upper = header->pd_upper;
	int			special = header->pd_special;
	BtreePage	btree = {0};
	bool		has_items = parts->look >= WALREDO_LOOK_ITEMS;
	int			nitems;

	if (parts->look == WALREDO_LOOK_BTREE)
	{
		classify_btree_special(parts, page, &btree);
		if (btree.is_known && (btree.opaque.btpo_flags & BTP_META) != 0)
			classify_btree_meta(parts, page);
		if (btree.is_known &&
			((btree.opaque.btpo_flags & BTP_META) != 0 ||
			 (btree.opaque.btpo_flags & (BTP_DELETED | BTP_HAS_FULLXID)) ==
			 (BTP_DELETED | BTP_HAS_FULLXID)))
			has_items = false;
	}
	if (has_items)
	{
		nitems = (lower - SizeOfPageHeaderData) / sizeof(ItemIdData);
		for (int i = 1; i <= nitems; i++)
			classify_line_pointer(parts, page, i, nitems, &btree, xids);
		if ((lower - SizeOfPageHeaderData) % sizeof(ItemIdData) != 0)
		{
			put_rest(parts, SizeOfPageHeaderData, lower, WALREDO_BYTES_BROKEN,
					 "a part of a line pointer");
			PROBLEM(parts, "The free space begins at byte %d, within a line pointer.",
					lower);
		}
		put_rest(parts, upper, special, WALREDO_BYTES_LOST, NULL);
	}
	else
	{
		put_rest(parts, SizeOfPageHeaderData, lower, WALREDO_BYTES_CONTENTS,
				 NULL);
		put_rest(parts, upper, special, WALREDO_BYTES_CONTENTS, NULL);

		/* Maps are where other pages have free space. */
		put_contents(parts, page, lower, upper);
	}
	put_rest(parts, special, BLCKSZ, WALREDO_BYTES_SPECIAL, NULL);
}

static bool
is_zero(const char *bytes, int size)
{
	for (int i = 0; i < size; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

WalredoPageParts *
walredo_classify_page(WalredoPageLook look, const char *page, int size,
					  WalredoXids *xids, bool with_labels)
{
	WalredoPageParts *parts = palloc0(sizeof(WalredoPageParts));
	PGAlignedBlock copy;
	const PageHeaderData *header = (const PageHeaderData *) copy.data;

	Assert(size <= BLCKSZ);
	parts->look = look;
	parts->size = size;
	parts->with_labels = with_labels;
	parts->max_parts = 64;
	parts->parts = palloc(parts->max_parts * sizeof(WalredoPagePart));
	if (look == WALREDO_LOOK_HEAP)
	{
		parts->cell_names[0] = "t_xmin";
		parts->cell_names[1] = "t_xmax";
		parts->cell_names[2] = "t_ctid";
		parts->cell_names[3] = "flags";
	}
	else if (look == WALREDO_LOOK_BTREE)
	{
		parts->cell_names[0] = "ctid";
		parts->cell_names[1] = "itemlen";
		parts->cell_names[2] = "tuple";
	}

	/* Part 0 is what nobody claims. */
	add_part(parts, WALREDO_BYTES_FREE, 0, 0, 0, NULL);
	if (look == WALREDO_LOOK_BYTES)
	{
		parts->parts[0].name = "zeroes";
		put_contents(parts, page, 0, size);
		return parts;
	}
	Assert(size == BLCKSZ);
	memcpy(copy.data, page, BLCKSZ);
	if (is_zero(copy.data, BLCKSZ))
	{
		parts->parts[0].name = "all zeroes";
		return parts;
	}
	classify_header(parts, copy.data);
	if (header->pd_lower < SizeOfPageHeaderData ||
		header->pd_lower > header->pd_upper ||
		header->pd_upper > header->pd_special || header->pd_special > BLCKSZ)
	{
		PROBLEM(parts, "The page's free space begins at byte %u and ends at byte %u, and its special space begins at byte %u.",
				header->pd_lower, header->pd_upper, header->pd_special);
		put_rest(parts, SizeOfPageHeaderData, BLCKSZ, WALREDO_BYTES_BROKEN,
				 "bytes of which the header does not say what they are");
		return parts;
	}
	classify_body(parts, copy.data, xids);
	return parts;
}

void
walredo_free_parts(WalredoPageParts *parts)
{
	pfree(parts->parts);
	pfree(parts);
}
