/*-------------------------------------------------------------------------
 *
 * multixact.c
 *	  Native changes to pages of pg_multixact/offsets and
 *	  pg_multixact/members.
 *
 * Both mirror RecordNewMultiXact() in
 * src/backend/access/transam/multixact.c.  What that function does to several
 * pages comes as several records here, one or more for each page.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/multixact.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "native/pages.h"
#include "record/slru.h"

/*
 * Writes where the members of one multixact begin.
 */
void
walredo_multixact_offset_apply(const WalredoTag *tag,
							   const WalredoRecord *rec, char *page)
{
	MultiXactId mid = rec->u.mxact_offset.mid;
	MultiXactOffset moff = rec->u.mxact_offset.moff;

	if (walredo_mxact_offset_page(mid) != tag->number)
		walredo_not_on_page(tag, rec, "Multixact", mid);
	memcpy(page + mid % WALREDO_MXACT_OFFSETS_PER_PAGE * sizeof(moff),
		   &moff, sizeof(moff));
}

/*
 * Writes members that follow each other.  In a group, the byte with the
 * status of a member is the n-th of a word in the server's byte order.
 */
void
walredo_multixact_members_apply(const WalredoTag *tag,
								const WalredoRecord *rec, char *page)
{
	const WalredoMultiXactMember *members = rec->u.mxact_members.members;
	Size		nmembers = WalredoRecordNMembers(rec);

	/* As in the server, the offset after the largest possible one is 0. */
	MultiXactOffset moff = rec->u.mxact_members.moff;

	for (Size i = 0; i < nmembers; i++, moff++)
	{
		uint32		entry = moff % WALREDO_MXACT_MEMBERS_PER_PAGE;
		uint32		in_group = entry % WALREDO_MXACT_MEMBERS_PER_GROUP;
		char	   *group = page + entry / WALREDO_MXACT_MEMBERS_PER_GROUP *
			WALREDO_MXACT_GROUP_SIZE;
		int			shift = in_group * BITS_PER_BYTE;
		uint32		flags;

		if (walredo_mxact_member_page(moff) != tag->number)
			walredo_not_on_page(tag, rec, "Member", moff);

		memcpy(&flags, group, sizeof(flags));
		flags &= ~((uint32) 0xFF << shift);
		flags |= members[i].status << shift;
		memcpy(group, &flags, sizeof(flags));
		memcpy(group + sizeof(flags) + in_group * sizeof(TransactionId),
			   &members[i].xid, sizeof(TransactionId));
	}
}
