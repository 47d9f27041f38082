/*-------------------------------------------------------------------------
 *
 * native.c
 *	  Small changes that are applied to an image in the backend itself.
 *
 * This file decides whether a record and a page belong together at all; the
 * arithmetic of each kind of page is in a file of its own.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/native.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "native/native.h"
#include "native/pages.h"

static bool native_kinds_match(const WalredoTag *tag,
							   const WalredoRecord *rec);

/*
 * Does a record of this kind change such pages?
 */
static bool
native_kinds_match(const WalredoTag *tag, const WalredoRecord *rec)
{
	switch ((WalredoRecordKind) rec->kind)
	{
		case WALREDO_POSTGRES:
			return false;
		case WALREDO_CLEAR_VISIBILITY_MAP_FLAGS:
		case WALREDO_TRUNCATE_VISIBILITY_MAP:
			return tag->kind == WALREDO_TAG_REL &&
				tag->forknum == VISIBILITYMAP_FORKNUM;
		case WALREDO_CLOG_SET_COMMITTED:
		case WALREDO_CLOG_SET_ABORTED:
		case WALREDO_CLOG_SET_SUBCOMMITTED:
			return tag->kind == WALREDO_TAG_CLOG;
		case WALREDO_MULTIXACT_OFFSET_CREATE:
			return tag->kind == WALREDO_TAG_MULTIXACT_OFFSETS;
		case WALREDO_MULTIXACT_MEMBERS_CREATE:
			return tag->kind == WALREDO_TAG_MULTIXACT_MEMBERS;
		case WALREDO_COMMIT_TS_SET:
			return tag->kind == WALREDO_TAG_COMMIT_TS;
		case WALREDO_ZERO_PAGE:
			return WalredoTagIsSlru(tag);
		case WALREDO_REPLACE:
			return !WalredoTagIsPage(tag);
	}
	return false;
}

void
walredo_native_not_here(const WalredoTag *tag, const WalredoRecord *rec,
						const char *what, uint64 number)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("record of kind \"%s\" does not belong to the page",
					walredo_record_kind_name(rec->kind)),
			 errdetail("%s " UINT64_FORMAT " of the record at %X/%X is not on page \"%s\".",
					   what, number, LSN_FORMAT_ARGS(rec->lsn),
					   walredo_tag_to_cstring(tag))));
}

/*
 * See native.h.
 */
bytea *
walredo_native_apply(const WalredoTag *tag, const WalredoRecord *rec,
					 bytea *image)
{
	Size		image_len = image == NULL ? 0 : VARSIZE(image) - VARHDRSZ;
	char	   *page;

	if (!native_kinds_match(tag, rec))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record of kind \"%s\" does not belong to the page",
						walredo_record_kind_name(rec->kind)),
				 errdetail("Page \"%s\" is of a kind that such a record cannot change.",
						   walredo_tag_to_cstring(tag))));

	if (rec->kind == WALREDO_REPLACE)
	{
		Size		len = WalredoRecordBodySize(rec);

		/* nothing is kept of the old contents, which may be of any length */
		image = palloc(VARHDRSZ + len);
		SET_VARSIZE(image, VARHDRSZ + len);
		memcpy(VARDATA(image), rec->u.data, len);
		return image;
	}

	if (image != NULL && image_len != BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image has a wrong length"),
				 errdetail("The image of page \"%s\" has %zu bytes instead of %d.",
						   walredo_tag_to_cstring(tag), image_len, BLCKSZ)));
	if (image == NULL)
	{
		if (!WalredoRecordStartsImage(rec))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("record of kind \"%s\" needs a base image",
							walredo_record_kind_name(rec->kind)),
					 errdetail("There is no image of page \"%s\" before the record at %X/%X.",
							   walredo_tag_to_cstring(tag),
							   LSN_FORMAT_ARGS(rec->lsn))));
		image = palloc(VARHDRSZ + BLCKSZ);
		SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	}
	page = VARDATA(image);

	switch ((WalredoRecordKind) rec->kind)
	{
		case WALREDO_CLEAR_VISIBILITY_MAP_FLAGS:
			walredo_visibilitymap_clear_apply(tag, rec, page);
			break;
		case WALREDO_TRUNCATE_VISIBILITY_MAP:
			walredo_visibilitymap_truncate_apply(tag, rec, page);
			break;
		case WALREDO_CLOG_SET_COMMITTED:
		case WALREDO_CLOG_SET_ABORTED:
		case WALREDO_CLOG_SET_SUBCOMMITTED:
			walredo_clog_apply(tag, rec, page);
			break;
		case WALREDO_MULTIXACT_OFFSET_CREATE:
			walredo_multixact_offset_apply(tag, rec, page);
			break;
		case WALREDO_MULTIXACT_MEMBERS_CREATE:
			walredo_multixact_members_apply(tag, rec, page);
			break;
		case WALREDO_COMMIT_TS_SET:
			walredo_commit_ts_apply(tag, rec, page);
			break;
		case WALREDO_ZERO_PAGE:
			memset(page, 0, BLCKSZ);
			break;
		case WALREDO_POSTGRES:
		case WALREDO_REPLACE:
			elog(ERROR, "unexpected kind of native record: %d", rec->kind);
	}
	return image;
}
