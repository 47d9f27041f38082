/*-------------------------------------------------------------------------
 *
 * imagefuncs.c
 *	  SQL function that takes the page images out of a WAL record.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/imagefuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogreader.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "record/image.h"
#include "record/record.h"
#include "record/tag.h"
#include "storage/bufpage.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(walredo_record_images);

/*
 * Decodes a WAL record, which walredo_record_validate() has found sound.
 */
static XLogReaderState *
decode(const WalredoRecord *record)
{
	XLogReaderState *state;
	DecodedXLogRecord *decoded;
	Size		size = WalredoRecordBodySize(record);
	char	   *errormsg;

	state = XLogReaderAllocate(wal_segment_size, NULL,
							   XL_ROUTINE(.page_read = NULL), NULL);
	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	state->EndRecPtr = record->lsn;

	decoded = MemoryContextAllocHuge(CurrentMemoryContext,
									 DecodeXLogRecordRequiredSpace(size));
	if (!DecodeXLogRecord(state, decoded, (XLogRecord *) record->u.data,
						  InvalidXLogRecPtr, &errormsg))
		walredo_report_broken_record(record->lsn, errormsg);
	state->record = decoded;
	return state;
}

/*
 * walredo_record_images(lsn pg_lsn, rec bytea)
 *
 * A row a page image in the record: those that replay restores (apply), and
 * those that are there for wal_consistency_checking only.  Either is the page
 * as it is after the record; its LSN is set to the record's, as replay does.
 *
 * RestoreBlockImage() relies on lengths that are checked before, and its
 * decompression checks its own bounds; that an image fills the page is checked
 * here.  So this is safe in the backend.
 */
Datum
walredo_record_images(PG_FUNCTION_ARGS)
{
	XLogRecPtr	lsn = PG_GETARG_LSN(0);
	bytea	   *rec = PG_GETARG_BYTEA_PP(1);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoRecord *record;
	XLogReaderState *state;

	record = walredo_record_make(WALREDO_POSTGRES, lsn,
								 VARSIZE_ANY_EXHDR(rec));
	memcpy(record->u.data, VARDATA_ANY(rec), VARSIZE_ANY_EXHDR(rec));
	walredo_record_validate(record);
	state = decode(record);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i <= XLogRecMaxBlockId(state); i++)
	{
		DecodedBkpBlock *block;
		WalredoTag	tag = {0};
		PGAlignedBlock page = {0};
		bytea	   *image;
		Datum		values[4];
		bool		nulls[4] = {0};

		if (!XLogRecHasBlockRef(state, i) || !XLogRecHasBlockImage(state, i))
			continue;

		block = XLogRecGetBlock(state, i);
		tag.kind = WALREDO_TAG_REL;
		tag.forknum = block->forknum;
		tag.spcOid = LocatorSpcOid(BlockLocator(block));
		tag.dbOid = LocatorDbOid(BlockLocator(block));
		tag.relNumber = LocatorRelNumber(BlockLocator(block));
		tag.number = block->blkno;

		if (!RestoreBlockImage(state, i, page.data))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("invalid page image in the WAL record that ends at %X/%X",
							LSN_FORMAT_ARGS(lsn)),
					 errdetail_internal("%s", state->errormsg_buf)));
		if (walredo_image_is_short(state, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("invalid page image in the WAL record that ends at %X/%X",
							LSN_FORMAT_ARGS(lsn)),
					 errdetail("The image of block %d decompresses to less than a page.",
							   i)));
		if (!PageIsNew((Page) page.data))
			PageSetLSN((Page) page.data, lsn);
		image = (bytea *) palloc(VARHDRSZ + BLCKSZ);
		SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
		memcpy(VARDATA(image), page.data, BLCKSZ);

		values[0] = Int32GetDatum(i);
		values[1] = PointerGetDatum(&tag);
		values[2] = BoolGetDatum(block->apply_image);
		values[3] = PointerGetDatum(image);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		pfree(image);
	}
	XLogReaderFree(state);
	return (Datum) 0;
}
