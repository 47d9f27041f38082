/*-------------------------------------------------------------------------
 *
 * mutate.c
 *	  Functions for tests that break WAL records.
 *
 *	mutate(rec bytea, seed int4, kind int4) RETURNS bytea
 *		Returns the record after a change, of the given kind and at a place that
 *		depends on seed only, with a correct checksum.
 *	write_file(path text, contents bytea) RETURNS void
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/mutate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlogrecord.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "fmgr.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(mutate);
PG_FUNCTION_INFO_V1(write_file);

/* What to change.  The length stays, unless the comment says otherwise. */
typedef enum MutationKind
{
	MUTATE_NOTHING,				/* only xl_prev, which redo does not use */
	MUTATE_CHECKSUM,			/* the checksum becomes wrong */
	MUTATE_TOTAL_LENGTH,		/* the length in the header only */
	MUTATE_CUT,					/* another length, also in the header */
	MUTATE_EXTEND,				/* another length, also in the header */
	MUTATE_HEADER,				/* xl_info or xl_rmid */
	MUTATE_BLOCK_HEADERS,		/* bytes right after the header */
	MUTATE_BIT,					/* anywhere after the header */
	MUTATE_BYTES,				/* a few, anywhere after the header */
	MUTATE_TAIL					/* the end, which is main data */
} MutationKind;

static pg_prng_state prng;

static uint32
random_below(uint32 limit)
{
	return limit == 0 ? 0 : pg_prng_uint64(&prng) % limit;
}

/* Half of the bytes have values that code is likelier to handle wrongly. */
static uint8
random_byte(void)
{
	static const uint8 edges[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};

	return random_below(2) ? edges[random_below(lengthof(edges))] :
		random_below(256);
}

Datum
mutate(PG_FUNCTION_ARGS)
{
	bytea	   *arg = PG_GETARG_BYTEA_PP(0);
	uint32		size = VARSIZE_ANY_EXHDR(arg);
	uint32		new_size = size;
	uint32		body = size - SizeOfXLogRecord;
	MutationKind kind = PG_GETARG_INT32(2);
	bytea	   *result;
	XLogRecord *record;
	char	   *data;
	pg_crc32c	crc;

	pg_prng_seed(&prng, PG_GETARG_INT32(1));
	if (kind == MUTATE_CUT)
		new_size = random_below(size);
	if (kind == MUTATE_EXTEND)
		new_size = size + 1 + random_below(64);

	/* Make it aligned, and at least as long as a record's header. */
	record = palloc0(Max(new_size, SizeOfXLogRecord));
	data = (char *) record;
	memcpy(data, VARDATA_ANY(arg), Min(size, new_size));

	switch (kind)
	{
		case MUTATE_NOTHING:
			record->xl_prev = pg_prng_uint64(&prng);
			break;
		case MUTATE_CHECKSUM:
			break;
		case MUTATE_TOTAL_LENGTH:
			record->xl_tot_len = random_below(2) ?
				(uint32) pg_prng_uint64(&prng) : size + random_below(64) - 32;
			break;
		case MUTATE_CUT:
		case MUTATE_EXTEND:
			record->xl_tot_len = new_size;
			break;
		case MUTATE_HEADER:
			if (random_below(2))
				record->xl_info = random_byte();
			else
				record->xl_rmid = random_below(30);
			break;
		case MUTATE_BLOCK_HEADERS:
			data[SizeOfXLogRecord + random_below(Min(body, 24))] =
				random_byte();
			break;
		case MUTATE_BIT:
			data[SizeOfXLogRecord + random_below(body)] ^=
				1 << random_below(8);
			break;
		case MUTATE_BYTES:
			for (int i = random_below(8); i >= 0; i--)
				data[SizeOfXLogRecord + random_below(body)] = random_byte();
			break;
		case MUTATE_TAIL:
			data[size - 1 - random_below(Min(body, 16))] = random_byte();
			break;
	}

	if (new_size >= SizeOfXLogRecord)
	{
		INIT_CRC32C(crc);
		COMP_CRC32C(crc, data + SizeOfXLogRecord,
					new_size - SizeOfXLogRecord);
		COMP_CRC32C(crc, data, offsetof(XLogRecord, xl_crc));
		FIN_CRC32C(crc);
		record->xl_crc = kind == MUTATE_CHECKSUM ? ~crc : crc;
	}

	result = palloc(VARHDRSZ + new_size);
	SET_VARSIZE(result, VARHDRSZ + new_size);
	memcpy(VARDATA(result), data, new_size);
	PG_RETURN_BYTEA_P(result);
}

Datum
write_file(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *contents = PG_GETARG_BYTEA_PP(1);
	FILE	   *file = AllocateFile(path, PG_BINARY_W);

	if (file == NULL ||
		fwrite(VARDATA_ANY(contents), 1, VARSIZE_ANY_EXHDR(contents),
			   file) != VARSIZE_ANY_EXHDR(contents) ||
		FreeFile(file) != 0)
		elog(ERROR, "could not write \"%s\": %m", path);
	PG_RETURN_VOID();
}
