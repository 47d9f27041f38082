/*-------------------------------------------------------------------------
 *
 * native.c
 *	  Small changes that are applied to an image in the backend itself.
 *
 * This file checks that a record and a page belong together at all; the
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

/* How a kind of native record is applied; NULL if it is not in the list. */
typedef struct NativeKind
{
	void		(*apply) (const WalredoTag *tag, const WalredoRecord *rec,
						  char *page);
} NativeKind;

#define NATIVE_KIND(kind, apply) [kind] = {apply},

static const NativeKind native_kinds[WALREDO_RECORD_NKINDS] =
{
	WALREDO_NATIVE_KINDS
};

/* Makes an empty page of an SLRU. */
void
walredo_zero_page_apply(const WalredoTag *tag, const WalredoRecord *rec,
						char *page)
{
	memset(page, 0, BLCKSZ);
}

bytea *
walredo_native_apply(const WalredoTag *tag, const WalredoRecord *rec,
					 bytea *image)
{
	Size		image_len = image == NULL ? 0 : VARSIZE(image) - VARHDRSZ;

	if (!walredo_record_fits_page(rec->kind, tag))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record of kind \"%s\" does not belong to the page",
						walredo_record_kind_name(rec->kind)),
				 errdetail("Page \"%s\" is of a kind that such a record cannot change.",
						   walredo_tag_to_cstring(tag))));

	if (rec->kind == WALREDO_REPLACE)
	{
		Size		len = WalredoRecordBodySize(rec);

		/* Nothing is kept of the old contents, which may have any length. */
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
		if (!walredo_record_starts_page(rec->kind))
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
	if (native_kinds[rec->kind].apply == NULL)
		elog(ERROR, "unexpected kind of native record: %d", rec->kind);
	native_kinds[rec->kind].apply(tag, rec, VARDATA(image));
	return image;
}
