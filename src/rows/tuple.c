/*-------------------------------------------------------------------------
 *
 * tuple.c
 *	  Reading tuples out of pages that are not trusted.
 *
 * The server's functions trust the length of a tuple, the lengths of its
 * attributes, and that these fit each other; heap_deform_tuple() reads as far
 * as an attribute says that it goes.  That is right for a page in shared
 * buffers, whose damage amcheck would find, but a page here can come from
 * anywhere.  So each length is compared with what is left of the tuple before
 * it is used.
 *
 * Nothing is checked that could be wrong in a sound tuple.  In particular, a
 * tuple can have less attributes than its table has now, an OID that its table
 * had before PostgreSQL 12, and zeroes after its last attribute: these remain
 * where expand_tuple() in heaptuple.c stores a missing value in less bytes than
 * it has reserved.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/tuple.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/toast_compression.h"
#include "compat.h"
#include "rows/tuple.h"
#include "utils/memutils.h"

/* A varlena's header, which need not be aligned where it is stored. */
typedef union VarlenaHeader
{
	varattrib_1b short_form;
	varattrib_4b long_form;
	char		bytes[VARHDRSZ_COMPRESSED];
} VarlenaHeader;

static bool
is_zero(const char *bytes, Size size)
{
	for (Size i = 0; i < size; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

bool
walredo_check_heap_page(const char *page, OffsetNumber *max_offnum,
						const char **problem)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	unsigned	lower = header->pd_lower;
	unsigned	upper = header->pd_upper;
	unsigned	special = header->pd_special;
	unsigned	line_pointers;

	*max_offnum = 0;
	if (upper == 0)
	{
		if (is_zero(page, BLCKSZ))
			return true;
		*problem = pstrdup("The page has no end of free space, but is not all zeroes.");
		return false;
	}

	if (header->pd_pagesize_version != (BLCKSZ | PG_PAGE_LAYOUT_VERSION))
	{
		*problem = psprintf("The page's size and layout version are %u and %u, not %u and %u.",
							header->pd_pagesize_version & 0xFF00,
							header->pd_pagesize_version & 0x00FF,
							BLCKSZ, PG_PAGE_LAYOUT_VERSION);
		return false;
	}
	if ((header->pd_flags & ~PD_VALID_FLAG_BITS) != 0)
	{
		*problem = psprintf("The page has unknown flags %X.",
							header->pd_flags & ~PD_VALID_FLAG_BITS);
		return false;
	}
	if (lower < SizeOfPageHeaderData || lower > upper || upper > special ||
		special > BLCKSZ)
	{
		*problem = psprintf("The page's free space begins at byte %u and ends at byte %u, and its special space begins at byte %u.",
							lower, upper, special);
		return false;
	}
	if (special != BLCKSZ)
	{
		*problem = psprintf("The page has special space from byte %u, which a page of a table has not.",
							special);
		return false;
	}
	line_pointers = lower - SizeOfPageHeaderData;
	if (line_pointers % sizeof(ItemIdData) != 0)
	{
		*problem = psprintf("The page's free space begins at byte %u, within a line pointer.",
							lower);
		return false;
	}
	line_pointers /= sizeof(ItemIdData);
	if (line_pointers > MaxHeapTuplesPerPage)
	{
		*problem = psprintf("The page has %u line pointers, more than %u.",
							line_pointers, (unsigned) MaxHeapTuplesPerPage);
		return false;
	}
	*max_offnum = line_pointers;
	return true;
}

bool
walredo_check_tuple_header(HeapTupleHeader tuple, Size size,
						   const char **problem)
{
	int			natts;
	Size		expected_hoff = SizeofHeapTupleHeader;

	if (size < MAXALIGN(SizeofHeapTupleHeader))
	{
		*problem = psprintf("The tuple has %zu bytes, less than its header.",
							size);
		return false;
	}
	natts = HeapTupleHeaderGetNatts(tuple);
	if (natts > MaxTupleAttributeNumber)
	{
		*problem = psprintf("The tuple has %d attributes, more than %d.",
							natts, MaxTupleAttributeNumber);
		return false;
	}
	if (tuple->t_infomask & HEAP_HASNULL)
		expected_hoff += BITMAPLEN(natts);
	if (tuple->t_infomask & HEAP_HASOID_OLD)
		expected_hoff += sizeof(Oid);
	expected_hoff = MAXALIGN(expected_hoff);
	if (tuple->t_hoff != expected_hoff)
	{
		*problem = psprintf("The attributes of the tuple should begin at byte %zu, but begin at byte %u.",
							expected_hoff, tuple->t_hoff);
		return false;
	}
	if (tuple->t_hoff > size)
	{
		*problem = psprintf("The attributes of the tuple begin at byte %u, after its %zu bytes.",
							tuple->t_hoff, size);
		return false;
	}
	return true;
}

/*
 * Are the flags of a tuple of a table possible?  Values of composite types can
 * have any, as they are copied from tuples.
 */
static bool
check_infomask(HeapTupleHeader tuple, const char **problem)
{
	uint16		infomask = tuple->t_infomask;

	if ((infomask & HEAP_XMAX_COMMITTED) && (infomask & HEAP_XMAX_IS_MULTI))
	{
		*problem = pstrdup("The tuple is marked as deleted by a multixact that has committed.");
		return false;
	}
	if ((infomask & HEAP_MOVED) == HEAP_MOVED)
	{
		*problem = pstrdup("The tuple is marked as moved both off and in.");
		return false;
	}
	return true;
}

HeapTupleHeader
walredo_heap_tuple(const char *page, OffsetNumber offnum, Size *size,
				   const char **problem)
{
	const PageHeaderData *header = (const PageHeaderData *) page;
	const ItemIdData *line_pointer = &header->pd_linp[offnum - 1];
	unsigned	begin = ItemIdGetOffset(line_pointer);
	unsigned	end = begin + ItemIdGetLength(line_pointer);
	unsigned	max_offnum = (header->pd_lower - SizeOfPageHeaderData) /
		sizeof(ItemIdData);
	HeapTupleHeader tuple;

	*problem = NULL;
	if (!ItemIdIsNormal(line_pointer))
		return NULL;
	if (begin != MAXALIGN(begin))
	{
		*problem = psprintf("The line pointer has the offset %u, which is not aligned.",
							begin);
		return NULL;
	}
	if (begin < header->pd_upper || end > header->pd_special)
	{
		*problem = psprintf("The line pointer has the offset %u and the length %u, but tuples are from byte %u to byte %u.",
							begin, end - begin, header->pd_upper,
							header->pd_special);
		return NULL;
	}
	for (OffsetNumber i = 1; i <= max_offnum; i++)
	{
		const ItemIdData *other = &header->pd_linp[i - 1];

		if (i != offnum && ItemIdIsNormal(other) &&
			ItemIdGetOffset(other) < end &&
			ItemIdGetOffset(other) + ItemIdGetLength(other) > begin)
		{
			*problem = psprintf("The line pointer has the offset %u and the length %u, but line pointer %u, with the offset %u and the length %u, has some of these bytes, too.",
								begin, end - begin, i, ItemIdGetOffset(other),
								ItemIdGetLength(other));
			return NULL;
		}
	}

	tuple = (HeapTupleHeader) (page + begin);
	*size = end - begin;
	if (!walredo_check_tuple_header(tuple, *size, problem) ||
		!check_infomask(tuple, problem))
		return NULL;
	return tuple;
}

/*
 * Is a pointer to a value that is stored out of line one that can be?
 */
static bool
check_toast_pointer(const char *value, const char **problem)
{
	struct varatt_external pointer;
	uint32		method;

	VARATT_EXTERNAL_GET_POINTER(pointer, value);
	if (pointer.va_rawsize < VARHDRSZ || !AllocSizeIsValid(pointer.va_rawsize))
	{
		*problem = psprintf("The value is stored out of line, and has the impossible size %d.",
							pointer.va_rawsize);
		return false;
	}
	if (VARATT_EXTERNAL_GET_EXTSIZE(pointer) >
		pointer.va_rawsize - VARHDRSZ)
	{
		*problem = psprintf("The value is stored out of line in %u bytes, more than its %d.",
							(unsigned) VARATT_EXTERNAL_GET_EXTSIZE(pointer),
							(int) (pointer.va_rawsize - VARHDRSZ));
		return false;
	}
	method = VARATT_EXTERNAL_GET_COMPRESS_METHOD(pointer);
	if (VARATT_EXTERNAL_IS_COMPRESSED(pointer) &&
		method != TOAST_PGLZ_COMPRESSION_ID &&
		method != TOAST_LZ4_COMPRESSION_ID)
	{
		*problem = psprintf("The value is stored out of line, with the unknown compression method %u.",
							method);
		return false;
	}
	if (!OidIsValid(pointer.va_valueid) || !OidIsValid(pointer.va_toastrelid))
	{
		*problem = psprintf("The value is stored out of line as value %u of TOAST table %u.",
							pointer.va_valueid, pointer.va_toastrelid);
		return false;
	}
	return true;
}

/*
 * Is a varlena one of the forms that are stored on disk, and in the bytes that
 * are left?  Sets *length to the number of its bytes.
 */
static bool
check_varlena(const char *value, Size left, bool is_aligned, Size *length,
			  const char **problem)
{
	VarlenaHeader header;

	if (left == 0)
	{
		*problem = pstrdup("There are no bytes left for the value.");
		return false;
	}
	memset(&header, 0, sizeof(header));
	memcpy(&header, value, Min(left, sizeof(header)));

	if (VARATT_IS_1B_E(&header))
	{
		*length = VARHDRSZ_EXTERNAL + sizeof(struct varatt_external);
		if (left < VARHDRSZ_EXTERNAL ||
			VARTAG_EXTERNAL(&header) != VARTAG_ONDISK)
		{
			*problem = psprintf("The value is stored out of line, but has no pointer of tag %d.",
								VARTAG_ONDISK);
			return false;
		}
		if (*length > left)
		{
			*problem = psprintf("The value is stored out of line, but its pointer has %zu bytes only.",
								left);
			return false;
		}
		return check_toast_pointer(value, problem);
	}

	if (VARATT_IS_1B(&header))
		*length = VARSIZE_1B(&header);
	else if (!is_aligned)
	{
		*problem = pstrdup("The value has a header of four bytes, but is not aligned.");
		return false;
	}
	else
	{
		*length = VARSIZE_4B(&header);
		if (left < VARHDRSZ || *length < VARHDRSZ ||
			(VARATT_IS_4B_C(&header) && *length < VARHDRSZ_COMPRESSED))
		{
			*problem = psprintf("The value has the length %zu, less than its header.",
								*length);
			return false;
		}
	}
	if (*length > left)
	{
		*problem = psprintf("The value has the length %zu, but only %zu bytes are left.",
							*length, left);
		return false;
	}

	if (VARATT_IS_4B_C(&header))
	{
		uint32		raw_size = VARDATA_COMPRESSED_GET_EXTSIZE(&header);
		uint32		method = VARDATA_COMPRESSED_GET_COMPRESS_METHOD(&header);

		if (!AllocSizeIsValid((Size) raw_size + VARHDRSZ))
		{
			*problem = psprintf("The value is compressed, and has the impossible size %u.",
								raw_size);
			return false;
		}
		if (method != TOAST_PGLZ_COMPRESSION_ID &&
			method != TOAST_LZ4_COMPRESSION_ID)
		{
			*problem = psprintf("The value is compressed with the unknown method %u.",
								method);
			return false;
		}
	}
	return true;
}

/*
 * Gets a value that is passed by value.  It need not be aligned.
 */
static bool
fetch_by_value(const char *bytes, int16 typlen, Datum *value)
{
	switch (typlen)
	{
		case 1:
			*value = CharGetDatum(*bytes);
			return true;
		case 2:
			{
				int16		number;

				memcpy(&number, bytes, sizeof(number));
				*value = Int16GetDatum(number);
				return true;
			}
		case 4:
			{
				int32		number;

				memcpy(&number, bytes, sizeof(number));
				*value = Int32GetDatum(number);
				return true;
			}
		case sizeof(Datum):
			memcpy(value, bytes, sizeof(Datum));
			return true;
		default:
			return false;
	}
}

bool
walredo_read_attribute(const char *buffer, Size size, Size *offset,
					   const WalredoAttributeLayout *layout,
					   Datum *value, const char **problem)
{
	int16		typlen = layout->typlen;
	Size		begin = *offset;
	Size		aligned;
	Size		length;

	switch (layout->typalign)
	{
		case TYPALIGN_CHAR:
		case TYPALIGN_SHORT:
		case TYPALIGN_INT:
		case TYPALIGN_DOUBLE:
			aligned = att_align_nominal(begin, layout->typalign);
			break;
		default:
			*problem = psprintf("The type has the unknown alignment %d.",
								layout->typalign);
			return false;
	}

	/* In a tuple, a byte that is not zero begins the value. */
	if (typlen != -1 || layout->is_always_aligned ||
		(begin < size && buffer[begin] == 0))
		begin = aligned;
	if (begin > size)
	{
		*problem = psprintf("The value begins at byte %zu, after the end at byte %zu.",
							begin, size);
		return false;
	}

	if (typlen == -1)
	{
		if (!check_varlena(buffer + begin, size - begin, begin == aligned,
						   &length, problem))
			return false;
	}
	else if (typlen == -2)
	{
		length = strnlen(buffer + begin, size - begin);
		if (length == size - begin)
		{
			*problem = psprintf("The value, which is a string, does not end before byte %zu.",
								size);
			return false;
		}
		length++;
	}
	else if (typlen > 0)
	{
		length = typlen;
		if (length > size - begin)
		{
			*problem = psprintf("The value has the length %zu, but only %zu bytes are left.",
								length, size - begin);
			return false;
		}
	}
	else
	{
		*problem = psprintf("The type has the unknown length %d.", typlen);
		return false;
	}

	if (!layout->typbyval)
		*value = PointerGetDatum(buffer + begin);
	else if (!fetch_by_value(buffer + begin, typlen, value))
	{
		*problem = psprintf("The type has the length %d, with which it cannot be passed by value.",
							typlen);
		return false;
	}
	*offset = begin + length;
	return true;
}

bool
walredo_deform_tuple(TupleDesc tupdesc, HeapTupleHeader tuple, Size size,
					 Datum *values, bool *nulls, const char **problem)
{
	int			natts = HeapTupleHeaderGetNatts(tuple);
	bool		has_nulls = (tuple->t_infomask & HEAP_HASNULL) != 0;
	const char *data = (const char *) tuple + tuple->t_hoff;
	Size		data_size = size - tuple->t_hoff;
	Size		offset = 0;

	if (natts > tupdesc->natts)
	{
		*problem = psprintf("The tuple has %d attributes, but there are only %d.",
							natts, tupdesc->natts);
		return false;
	}

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(tupdesc, i);
		WalredoAttributeLayout layout = {
			.typlen = attr->attlen,
			.typbyval = attr->attbyval,
			.typalign = attr->attalign
		};
		const char *cause;

		values[i] = (Datum) 0;
		nulls[i] = true;
		if (has_nulls && att_isnull(i, tuple->t_bits))
			continue;
		if (!walredo_read_attribute(data, data_size, &offset, &layout,
									&values[i], &cause))
		{
			*problem = psprintf("Attribute %d, \"%s\", is broken.  %s",
								i + 1, NameStr(attr->attname), cause);
			return false;
		}
		if (attr->attlen == -1 &&
			VARATT_IS_1B_E(DatumGetPointer(values[i])) &&
			(tuple->t_infomask & HEAP_HASEXTERNAL) == 0)
		{
			*problem = psprintf("Attribute %d, \"%s\", is stored out of line, but the tuple is marked as having no such attribute.",
								i + 1, NameStr(attr->attname));
			return false;
		}
		if (attr->attisdropped)
			values[i] = (Datum) 0;
		else
			nulls[i] = false;
	}
	if (!is_zero(data + offset, data_size - offset))
	{
		*problem = psprintf("The last attribute ends at byte %zu of %zu.",
							tuple->t_hoff + offset, size);
		return false;
	}

	for (int i = natts; i < tupdesc->natts; i++)
	{
		if (TupleDescAttr(tupdesc, i)->attisdropped)
		{
			values[i] = (Datum) 0;
			nulls[i] = true;
		}
		else
			values[i] = getmissingattr(tupdesc, i + 1, &nulls[i]);
	}
	return true;
}
