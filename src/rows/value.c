/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Checking the insides of values that are not trusted.
 *
 * A checker knows a type, and gets the checkers of the types that it is made of
 * when the first value needs them.  What values of base types must be like is
 * in value_types.c; here are the types that consist of others, and enums.
 *
 * A value has passed if the functions of its type can be given it.  That is not
 * to say that it is one that could have been stored in the table: constraints
 * of domains are not checked, nor are type modifiers, nor the order of bounds.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "rows/toast_at.h"
#include "rows/tuple.h"
#include "rows/value.h"
#include "rows/value_types.h"
#include "statistics/extended_stats_internal.h"
#include "statistics/statistics.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* An item of a multirange says where a range is; from multirangetypes.c. */
#define MULTIRANGE_ITEM_OFF_BIT	0x80000000
#define MULTIRANGE_ITEM_GET_OFFLEN(item) ((item) & 0x7FFFFFFF)
#define MULTIRANGE_ITEM_HAS_OFF(item) ((item) & MULTIRANGE_ITEM_OFF_BIT)

/*
 * Flags of a range that are not stored in tables: those that are not used, and
 * the one of a GiST index.
 */
#define RANGE_IMPOSSIBLE_FLAGS \
	(RANGE_LB_NULL | RANGE_UB_NULL | RANGE_CONTAIN_EMPTY)

typedef enum TypeClass
{
	TYPE_LENGTH_ONLY,			/* an extension's, or a user's */
	TYPE_BUILTIN,
	TYPE_ENUM,
	TYPE_ARRAY,
	TYPE_ANY_ARRAY,				/* of which elements the value says */
	TYPE_VECTOR,				/* int2vector or oidvector */
	TYPE_COMPOSITE,
	TYPE_RANGE,
	TYPE_MULTIRANGE,
	TYPE_MCV_LIST
} TypeClass;

struct WalredoValueChecker
{
	MemoryContext context;		/* where all of this is */
	Oid			typid;			/* not that of a domain */
	TypeClass	type_class;
	WalredoAttributeLayout layout;	/* in a tuple */
	bool		is_plain;		/* never has a short header */

	/* TYPE_BUILTIN: how to check values. */
	const WalredoBuiltinType *builtin;

	/* TYPE_ENUM: the OIDs of all labels, sorted. */
	Oid		   *labels;
	int			nlabels;

	/* TYPE_ARRAY, _VECTOR, _RANGE, _MULTIRANGE: the type of the elements. */
	Oid			element_typid;
	struct WalredoValueChecker *element;	/* NULL until it is needed */

	/* TYPE_COMPOSITE. */
	TupleDesc	tupdesc;		/* NULL until it is needed */
	struct WalredoValueChecker **attributes;	/* NULL until needed, too */

	/*
	 * TYPE_ANY_ARRAY, _MCV_LIST: checkers of types that values have named.
	 * There, a type can be a domain.
	 */
	List	   *others;
	Oid			named_typid;	/* in such a list: what it was named */
};

static bool check_contents(WalredoValueChecker *checker, const char *data,
						   Size size, const char **problem);

static int
compare_oids(const void *a, const void *b)
{
	Oid			oid_a = *(const Oid *) a;
	Oid			oid_b = *(const Oid *) b;

	return oid_a < oid_b ? -1 : oid_a > oid_b;
}

/*
 * Reads the labels of an enum.  The syscache is not asked for each value,
 * because it would remember all OIDs that are none of a label.
 */
static void
read_labels(WalredoValueChecker *checker)
{
	Relation	relation = table_open(EnumRelationId, AccessShareLock);
	MemoryContext old_context = MemoryContextSwitchTo(checker->context);
	int			allocated = 16;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	checker->labels = palloc(allocated * sizeof(Oid));
	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(checker->typid));
	scan = systable_beginscan(relation, EnumTypIdLabelIndexId, true, NULL, 1,
							  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (checker->nlabels == allocated)
		{
			allocated *= 2;
			checker->labels = repalloc(checker->labels,
									   allocated * sizeof(Oid));
		}
		checker->labels[checker->nlabels++] =
			((Form_pg_enum) GETSTRUCT(tuple))->oid;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	MemoryContextSwitchTo(old_context);
	qsort(checker->labels, checker->nlabels, sizeof(Oid), compare_oids);
}

/*
 * Is there a type with this OID?  The OID comes from a value, so that the
 * syscache is not asked, as above.
 */
static bool
type_exists(Oid typid)
{
	Relation	relation = table_open(TypeRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		exists;

	ScanKeyInit(&key, Anum_pg_type_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(typid));
	scan = systable_beginscan(relation, TypeOidIndexId, true, NULL, 1, &key);
	exists = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return exists;
}

/*
 * What is a type, which is not a domain?  Returns false if it is one of which
 * there is no value in tables, or none that could be checked.
 */
static bool
classify_type(WalredoValueChecker *checker, Form_pg_type type)
{
	Oid			typid = checker->typid;

	switch (type->typtype)
	{
		case TYPTYPE_COMPOSITE:
			checker->type_class = TYPE_COMPOSITE;
			return true;
		case TYPTYPE_ENUM:
			checker->type_class = TYPE_ENUM;
			return true;
		case TYPTYPE_RANGE:
			checker->type_class = TYPE_RANGE;
			checker->element_typid = get_range_subtype(typid);
			return OidIsValid(checker->element_typid);
		case TYPTYPE_MULTIRANGE:
			checker->type_class = TYPE_MULTIRANGE;
			checker->element_typid =
				get_range_subtype(get_multirange_range(typid));
			return OidIsValid(checker->element_typid);
		case TYPTYPE_PSEUDO:
			checker->type_class = TYPE_ANY_ARRAY;
			return typid == ANYARRAYOID;
		case TYPTYPE_BASE:
			if (typid == INT2VECTOROID || typid == OIDVECTOROID)
			{
				checker->type_class = TYPE_VECTOR;
				checker->element_typid = type->typelem;
				return true;
			}
			if (IsTrueArrayType(type))
			{
				checker->type_class = TYPE_ARRAY;
				checker->element_typid = type->typelem;
				return true;
			}
			if (typid == PG_MCV_LISTOID)
			{
				checker->type_class = TYPE_MCV_LIST;
				return true;
			}
			if (typid >= FirstNormalObjectId)
			{
				checker->type_class = TYPE_LENGTH_ONLY;
				return true;
			}
			checker->type_class = TYPE_BUILTIN;
			checker->builtin = walredo_builtin_type(typid);
			return checker->builtin != NULL;
		default:
			return false;
	}
}

/*
 * Returns NULL if there is no such type, or if values of it cannot be checked.
 */
static WalredoValueChecker *
create_checker(MemoryContext context, Oid typid)
{
	WalredoValueChecker *checker;
	HeapTuple	tuple;
	Form_pg_type type;
	bool		is_known;

	typid = getBaseType(typid);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	type = (Form_pg_type) GETSTRUCT(tuple);

	checker = MemoryContextAllocZero(context, sizeof(WalredoValueChecker));
	checker->context = context;
	checker->typid = typid;
	checker->layout.typlen = type->typlen;
	checker->layout.typbyval = type->typbyval;
	checker->layout.typalign = type->typalign;
	checker->is_plain = type->typstorage == TYPSTORAGE_PLAIN;
	is_known = classify_type(checker, type);
	ReleaseSysCache(tuple);

	if (!is_known)
	{
		pfree(checker);
		return NULL;
	}
	if (checker->type_class == TYPE_ENUM)
		read_labels(checker);
	return checker;
}

/*
 * Makes sure that there is a checker for the elements of a type.
 */
static bool
need_element(WalredoValueChecker *checker, const char **problem)
{
	if (checker->element != NULL)
		return true;
	checker->element = create_checker(checker->context,
									  checker->element_typid);
	if (checker->element != NULL)
		return true;
	*problem = psprintf("Values of type %s cannot be checked.",
						format_type_be(checker->element_typid));
	return false;
}

/*
 * Returns the checker of a type that a value names, or NULL.
 */
static WalredoValueChecker *
find_other(WalredoValueChecker *checker, Oid typid, const char **problem)
{
	WalredoValueChecker *other;
	MemoryContext old_context;
	ListCell   *cell;

	foreach(cell, checker->others)
	{
		other = lfirst(cell);
		if (other->named_typid == typid)
			return other;
	}

	if (type_exists(typid))
		other = create_checker(checker->context, typid);
	else
		other = NULL;
	if (other == NULL)
	{
		*problem = psprintf("The value is made of values of a type with OID %u, which does not exist or cannot be checked.",
							typid);
		return NULL;
	}

	other->named_typid = typid;
	old_context = MemoryContextSwitchTo(checker->context);
	checker->others = lappend(checker->others, other);
	MemoryContextSwitchTo(old_context);
	return other;
}

/* ----------------------------------------
 * Arrays
 * ----------------------------------------
 */

/*
 * How many elements has an array with these dimensions?  Returns false for what
 * ArrayGetNItems() and ArrayCheckBounds() refuse.
 */
static bool
count_elements(const char *dimensions, int ndim, int64 *count)
{
	*count = ndim > 0 ? 1 : 0;
	for (int i = 0; i < ndim; i++)
	{
		const char *at = dimensions + i * sizeof(int32);
		int32		length = (int32) walredo_get_uint32(at);
		int32		lower = (int32) walredo_get_uint32(at +
													   ndim * sizeof(int32));

		if (length < 0 || (int64) lower + length > PG_INT32_MAX)
			return false;
		*count *= length;
		if (*count > (int64) MaxArraySize)
			return false;
	}
	return true;
}

/*
 * The elements of an array, between *offset and size.  is_null, if it is not
 * NULL, has a bit for each that says that it is not null.
 */
static bool
check_elements(WalredoValueChecker *element, const char *buffer, Size size,
			   Size *offset, int64 count, const char *not_null,
			   const char **problem)
{
	WalredoAttributeLayout layout = element->layout;

	layout.is_always_aligned = true;
	for (int64 i = 0; i < count; i++)
	{
		Datum		value;

		CHECK_FOR_INTERRUPTS();
		if (not_null != NULL &&
			(not_null[i / BITS_PER_BYTE] & (1 << i % BITS_PER_BYTE)) == 0)
			continue;
		if (!walredo_read_attribute(buffer, size, offset, &layout, &value,
									problem) ||
			!walredo_check_value(element, value, problem))
			return false;
	}
	return true;
}

/*
 * An array of elements of one type.  The offsets in it are counted from its
 * header of four bytes.
 */
static bool
check_array(WalredoValueChecker *checker, WalredoValueChecker *element,
			Oid element_typid, const char *data, Size size,
			const char **problem)
{
	const char *array = data - VARHDRSZ;
	bool		is_vector = checker->type_class == TYPE_VECTOR;
	int32		ndim;
	int32		data_offset;
	Oid			typid;
	int64		count;
	Size		expected_offset;
	Size		offset;
	const char *not_null = NULL;

	size += VARHDRSZ;
	if (size < sizeof(ArrayType))
	{
		*problem = psprintf("An array has %zu bytes, less than its header.",
							size);
		return false;
	}
	ndim = (int32) walredo_get_uint32(array + offsetof(ArrayType, ndim));
	data_offset = (int32) walredo_get_uint32(array +
											 offsetof(ArrayType, dataoffset));
	typid = walredo_get_uint32(array + offsetof(ArrayType, elemtype));
	if (ndim < 0 || ndim > MAXDIM || (is_vector && ndim != 1) ||
		ARR_OVERHEAD_NONULLS(ndim) > size)
	{
		*problem = psprintf("An array of %d dimensions has %zu bytes.",
							ndim, size);
		return false;
	}
	if (typid != element_typid)
	{
		*problem = psprintf("An array is of elements of type %s, but has some of the type with OID %u.",
							format_type_be(element_typid), typid);
		return false;
	}
	if (!count_elements(array + sizeof(ArrayType), ndim, &count))
	{
		*problem = psprintf("An array of %d dimensions has impossible bounds.",
							ndim);
		return false;
	}

	offset = ARR_OVERHEAD_NONULLS(ndim);
	if (data_offset != 0)
	{
		not_null = array + sizeof(ArrayType) + 2 * sizeof(int32) * ndim;
		offset = ARR_OVERHEAD_WITHNULLS(ndim, count);
	}
	expected_offset = data_offset != 0 ? offset : 0;
	if (data_offset != expected_offset || offset > size ||
		(data_offset != 0 && (is_vector || ndim == 0)))
	{
		*problem = psprintf("The elements of an array begin at byte %d, not at byte %zu of %zu.",
							data_offset, offset, size);
		return false;
	}
	if (!check_elements(element, array, size, &offset, count, not_null,
						problem))
		return false;

	/* Most arrays end with padding for another element. */
	if (offset != size &&
		att_align_nominal(offset, element->layout.typalign) != size)
	{
		*problem = psprintf("The elements of an array end at byte %zu of %zu.",
							offset, size);
		return false;
	}
	return true;
}

static bool
check_any_array(WalredoValueChecker *checker, const char *data, Size size,
				const char **problem)
{
	WalredoValueChecker *element;
	Oid			typid;

	if (size + VARHDRSZ < sizeof(ArrayType))
	{
		*problem = psprintf("An array has %zu bytes, less than its header.",
							size + VARHDRSZ);
		return false;
	}
	typid = walredo_get_uint32(data - VARHDRSZ +
							   offsetof(ArrayType, elemtype));
	element = find_other(checker, typid, problem);
	return element != NULL &&
		check_array(checker, element, typid, data, size, problem);
}

/* ----------------------------------------
 * Ranges and multiranges
 * ----------------------------------------
 */

/*
 * The bounds of a range, which begin at *offset, where its flags have them.
 */
static bool
check_bounds(WalredoValueChecker *checker, unsigned flags, bool can_be_empty,
			 const char *buffer, Size size, Size *offset,
			 const char **problem)
{
	bool		has_bounds[2] = {
		RANGE_HAS_LBOUND(flags), RANGE_HAS_UBOUND(flags)
	};

	if ((flags & RANGE_IMPOSSIBLE_FLAGS) != 0 ||
		((flags & RANGE_EMPTY) != 0 &&
		 (!can_be_empty || flags != RANGE_EMPTY)) ||
		((flags & RANGE_LB_INF) != 0 && (flags & RANGE_LB_INC) != 0) ||
		((flags & RANGE_UB_INF) != 0 && (flags & RANGE_UB_INC) != 0))
	{
		*problem = psprintf("A range has the flags %02X.", flags);
		return false;
	}
	for (int i = 0; i < lengthof(has_bounds); i++)
	{
		Datum		value;

		if (has_bounds[i] &&
			(!walredo_read_attribute(buffer, size, offset,
									 &checker->element->layout, &value,
									 problem) ||
			 !walredo_check_value(checker->element, value, problem)))
			return false;
	}
	return true;
}

/*
 * A range: its type, the bounds, and a byte of flags.
 */
static bool
check_range(WalredoValueChecker *checker, const char *data, Size size,
			const char **problem)
{
	const char *range = data - VARHDRSZ;
	Size		offset = sizeof(RangeType);
	Size		end;
	Oid			typid;

	size += VARHDRSZ;
	if (size < sizeof(RangeType) + 1)
	{
		*problem = psprintf("A range has %zu bytes, less than its header.",
							size);
		return false;
	}
	typid = walredo_get_uint32(range + offsetof(RangeType, rangetypid));
	if (typid != checker->typid)
	{
		*problem = psprintf("A range of type %s has the type with OID %u.",
							format_type_be(checker->typid), typid);
		return false;
	}
	end = size - 1;
	if (!need_element(checker, problem) ||
		!check_bounds(checker, (unsigned char) range[end], true, range, end,
					  &offset, problem))
		return false;
	if (offset != end)
	{
		*problem = psprintf("The bounds of a range end at byte %zu of %zu.",
							offset, end);
		return false;
	}
	return true;
}

/*
 * A multirange: its type, the number of ranges, an item for each but the first,
 * flags for each, and the bounds of each.  An item says where the bounds of its
 * range begin, counted from the first one's, or from those of the range before.
 */
static bool
check_multirange(WalredoValueChecker *checker, const char *data, Size size,
				 const char **problem)
{
	const char *multirange = data - VARHDRSZ;
	char		typalign;
	Oid			typid;
	uint32		count;
	const char *items;
	const char *flags;
	Size		bounds;
	Size		offset;
	Size		begin = 0;

	size += VARHDRSZ;
	if (size < sizeof(MultirangeType))
	{
		*problem = psprintf("A multirange has %zu bytes, less than its header.",
							size);
		return false;
	}
	typid = walredo_get_uint32(multirange +
							   offsetof(MultirangeType, multirangetypid));
	if (typid != checker->typid)
	{
		*problem = psprintf("A multirange of type %s has the type with OID %u.",
							format_type_be(checker->typid), typid);
		return false;
	}
	if (!need_element(checker, problem))
		return false;
	typalign = checker->element->layout.typalign;
	count = walredo_get_uint32(multirange +
							   offsetof(MultirangeType, rangeCount));
	items = multirange + sizeof(MultirangeType);
	bounds = sizeof(MultirangeType);
	if (count > 0)
		bounds += ((Size) count - 1) * sizeof(uint32) + count;
	bounds = att_align_nominal(bounds, typalign);
	if (bounds > size)
	{
		*problem = psprintf("A multirange of %u ranges has %zu bytes.",
							count, size);
		return false;
	}
	flags = items + ((Size) Max(count, 1) - 1) * sizeof(uint32);

	offset = bounds;
	for (uint32 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
		{
			uint32		item = walredo_get_uint32(items +
												  (i - 1) * sizeof(uint32));

			begin = MULTIRANGE_ITEM_GET_OFFLEN(item) +
				(MULTIRANGE_ITEM_HAS_OFF(item) ? 0 : begin);
			if (bounds + begin != offset)
			{
				*problem = psprintf("Range %u of a multirange begins at byte %zu, not at byte %zu.",
									i + 1, bounds + begin, offset);
				return false;
			}
		}
		if (!check_bounds(checker, (unsigned char) flags[i], false, multirange,
						  size, &offset, problem))
			return false;
		offset = att_align_nominal(offset, typalign);
	}
	if (offset != size)
	{
		*problem = psprintf("The ranges of a multirange end at byte %zu of %zu.",
							offset, size);
		return false;
	}
	return true;
}

/* ----------------------------------------
 * Composite types
 * ----------------------------------------
 */

/*
 * Makes sure that the attributes of a composite type are known.
 */
static bool
need_attributes(WalredoValueChecker *checker, const char **problem)
{
	MemoryContext old_context;

	if (checker->tupdesc != NULL)
		return true;
	old_context = MemoryContextSwitchTo(checker->context);
	checker->tupdesc = lookup_rowtype_tupdesc_copy(checker->typid, -1);
	checker->attributes = palloc0(checker->tupdesc->natts *
								  sizeof(WalredoValueChecker *));
	MemoryContextSwitchTo(old_context);
	return true;
}

static bool
check_attribute(WalredoValueChecker *checker, int i, Datum value,
				const char **problem)
{
	Oid			typid = TupleDescAttr(checker->tupdesc, i)->atttypid;

	if (checker->attributes[i] == NULL)
		checker->attributes[i] = create_checker(checker->context, typid);
	if (checker->attributes[i] == NULL)
	{
		*problem = psprintf("Values of type %s cannot be checked.",
							format_type_be(typid));
		return false;
	}
	return walredo_check_value(checker->attributes[i], value, problem);
}

/*
 * A value of a composite type: a tuple, in whose header is the type.
 */
static bool
check_composite(WalredoValueChecker *checker, const char *data, Size size,
				const char **problem)
{
	HeapTupleHeader tuple = (HeapTupleHeader) (data - VARHDRSZ);
	HeapTupleHeader copy = NULL;
	Datum	   *values;
	bool	   *nulls;
	bool		is_sound = false;
	Oid			typid;

	size += VARHDRSZ;
	if (size < SizeofHeapTupleHeader)
	{
		*problem = psprintf("A value of a composite type has %zu bytes, less than its header.",
							size);
		return false;
	}
	typid = walredo_get_uint32((const char *) tuple +
							   offsetof(HeapTupleHeaderData,
										t_choice.t_datum.datum_typeid));
	if (typid != checker->typid)
	{
		*problem = psprintf("A value of type %s has the type with OID %u.",
							format_type_be(checker->typid), typid);
		return false;
	}
	if (!need_attributes(checker, problem))
		return false;

	/* It is not aligned if its header has one byte. */
	if ((uintptr_t) tuple % MAXIMUM_ALIGNOF != 0)
	{
		copy = palloc(size);
		memcpy((char *) copy + VARHDRSZ, data, size - VARHDRSZ);
		tuple = copy;
	}

	/* These are not kept, as values can be nested through an anyarray. */
	values = palloc(checker->tupdesc->natts * sizeof(Datum));
	nulls = palloc(checker->tupdesc->natts * sizeof(bool));
	if (walredo_check_tuple_header(tuple, size, problem) &&
		walredo_deform_tuple(checker->tupdesc, tuple, size, values, nulls,
							 problem))
	{
		int			natts = Min(HeapTupleHeaderGetNatts(tuple),
								checker->tupdesc->natts);

		is_sound = true;
		if (!walredo_version_fits(tuple, checker->tupdesc))
		{
			*problem = psprintf("A value is of another version of type %s.",
								format_type_be(checker->typid));
			is_sound = false;
		}
		for (int i = 0; i < natts && is_sound; i++)
			is_sound = nulls[i] ||
				check_attribute(checker, i, values[i], problem);
	}
	pfree(values);
	pfree(nulls);
	if (copy != NULL)
		pfree(copy);
	return is_sound;
}

/* ----------------------------------------
 * Lists of most common values
 * ----------------------------------------
 */

/*
 * The values of one dimension of a list, which have exactly size bytes: as
 * statext_mcv_deserialize() in mcv.c reads them.
 */
static bool
check_mcv_dimension(WalredoValueChecker *type, const DimensionInfo *info,
					const char *data, Size size, const char **problem)
{
	int64		aligned_size = 0;
	Size		offset = 0;

	for (int i = 0; i < info->nvalues; i++)
	{
		Size		length = info->typlen;
		bool		is_sound = true;

		CHECK_FOR_INTERRUPTS();
		if (info->typlen < 0)
		{
			if (size - offset < sizeof(uint32))
				break;
			length = walredo_get_uint32(data + offset);
			offset += sizeof(uint32);
		}
		if (length > size - offset)
			break;
		if (info->typlen == -1)
		{
			is_sound = check_contents(type, data + offset, length, problem);
			aligned_size += MAXALIGN(length + VARHDRSZ);
		}
		else if (info->typlen == -2)
		{
			if (strnlen(data + offset, length) + 1 != length)
				break;
			aligned_size += MAXALIGN(length);
		}
		else if (info->typbyval)
		{
			WalredoAttributeLayout layout = type->layout;
			Size		end = offset;
			Datum		value;

			layout.typalign = TYPALIGN_CHAR;
			is_sound = walredo_read_attribute(data, size, &end, &layout,
											  &value, problem) &&
				walredo_check_value(type, value, problem);
		}
		else
		{
			is_sound = walredo_check_value(type,
										   PointerGetDatum(data + offset),
										   problem);
			aligned_size += MAXALIGN(length);
		}
		if (!is_sound)
			return false;
		offset += length;
		if (i == info->nvalues - 1 && offset == size &&
			aligned_size == info->nbytes_aligned)
			return true;
	}
	if (info->nvalues == 0 && size == 0 && info->nbytes_aligned == 0)
		return true;
	*problem = psprintf("A dimension of a list of most common values does not have %d values in %zu bytes.",
						info->nvalues, size);
	return false;
}

/*
 * A list: the number of items, that of dimensions, the type of each, what there
 * is of each, the values of each, and the items, which are indexes of values.
 */
static bool
check_mcv_list(WalredoValueChecker *checker, const char *data, Size size,
			   const char **problem)
{
	Size		offset = 3 * sizeof(uint32) + sizeof(AttrNumber);
	uint32		nitems;
	int			ndims;
	Size		item_size;
	const char *types;
	DimensionInfo info[STATS_MAX_DIMENSIONS];

	if (size < offset || walredo_get_uint32(data) != STATS_MCV_MAGIC ||
		walredo_get_uint32(data + sizeof(uint32)) != STATS_MCV_TYPE_BASIC)
	{
		*problem = psprintf("A list of most common values does not begin with %08X and %u.",
							STATS_MCV_MAGIC, STATS_MCV_TYPE_BASIC);
		return false;
	}
	nitems = walredo_get_uint32(data + 2 * sizeof(uint32));
	ndims = (int16) walredo_get_uint16(data + 3 * sizeof(uint32));
	if (nitems == 0 || nitems > STATS_MCVLIST_MAX_ITEMS ||
		ndims <= 0 || ndims > STATS_MAX_DIMENSIONS ||
		size - offset < ndims * (sizeof(Oid) + sizeof(DimensionInfo)))
	{
		*problem = psprintf("A list of most common values has %u items of %d dimensions in %zu bytes.",
							nitems, ndims, size);
		return false;
	}
	types = data + offset;
	offset += ndims * sizeof(Oid);
	memcpy(info, data + offset, ndims * sizeof(DimensionInfo));
	offset += ndims * sizeof(DimensionInfo);

	for (int i = 0; i < ndims; i++)
	{
		Oid			typid = walredo_get_uint32(types + i * sizeof(Oid));
		WalredoValueChecker *type = find_other(checker, typid, problem);
		const unsigned char *typbyval = (const unsigned char *) &info[i] +
			offsetof(DimensionInfo, typbyval);

		if (type == NULL)
			return false;
		if (info[i].nvalues < 0 || info[i].nbytes < 0 ||
			info[i].nbytes > size - offset ||
			info[i].typlen != type->layout.typlen ||
			*typbyval != type->layout.typbyval)
		{
			*problem = psprintf("Dimension %d of a list of most common values does not fit its type or the list.",
								i + 1);
			return false;
		}
		if (!check_mcv_dimension(type, &info[i], data + offset, info[i].nbytes,
								 problem))
			return false;
		offset += info[i].nbytes;
	}

	/* Nulls, two frequencies, and indexes, without padding. */
	item_size = ndims * (sizeof(bool) + sizeof(uint16)) + 2 * sizeof(double);
	if (size - offset != nitems * item_size)
	{
		*problem = psprintf("A list of most common values has %u items in %zu bytes.",
							nitems, size - offset);
		return false;
	}
	for (uint32 i = 0; i < nitems; i++)
	{
		const char *indexes = data + offset + ndims + 2 * sizeof(double);

		for (int j = 0; j < ndims; j++)
		{
			unsigned	is_null = (unsigned char) data[offset + j];
			uint16		index = walredo_get_uint16(indexes +
												   j * sizeof(uint16));

			if (is_null > 1 || (!is_null && index >= info[j].nvalues))
			{
				*problem = psprintf("Item %u of a list of most common values is of value %u of %d.",
									i + 1, index, info[j].nvalues);
				return false;
			}
		}
		offset += item_size;
	}
	return true;
}

/* ----------------------------------------
 * Values
 * ----------------------------------------
 */

/*
 * A varlena of size bytes after its header, which need not be aligned.
 */
static bool
check_contents(WalredoValueChecker *checker, const char *data, Size size,
			   const char **problem)
{
	if (walredo_value_is_too_deep(problem))
		return false;
	switch (checker->type_class)
	{
		case TYPE_LENGTH_ONLY:
			return true;
		case TYPE_BUILTIN:
			return checker->builtin->check_contents == NULL ||
				checker->builtin->check_contents(data, size, problem);
		case TYPE_ARRAY:
		case TYPE_VECTOR:
			return need_element(checker, problem) &&
				check_array(checker, checker->element, checker->element_typid,
							data, size, problem);
		case TYPE_ANY_ARRAY:
			return check_any_array(checker, data, size, problem);
		case TYPE_COMPOSITE:
			return check_composite(checker, data, size, problem);
		case TYPE_RANGE:
			return check_range(checker, data, size, problem);
		case TYPE_MULTIRANGE:
			return check_multirange(checker, data, size, problem);
		case TYPE_MCV_LIST:
			return check_mcv_list(checker, data, size, problem);
		case TYPE_ENUM:
			break;
	}
	elog(ERROR, "type %u is not a varlena", checker->typid);
}

/*
 * A varlena that is compressed, which one within another can be, of size bytes.
 */
static bool
check_compressed(WalredoValueChecker *checker, const char *value, Size size,
				 const char **problem)
{
	struct varlena *copy = palloc(size);
	struct varlena *contents;
	bool		is_sound;

	/* It need not be aligned. */
	memcpy(copy, value, size);
	contents = walredo_decompress_datum(copy, size, problem);
	pfree(copy);
	if (contents == NULL)
		return false;
	is_sound = check_contents(checker, VARDATA(contents),
							  VARSIZE(contents) - VARHDRSZ, problem);
	pfree(contents);
	return is_sound;
}

static bool
check_varlena(WalredoValueChecker *checker, const char *value,
			  const char **problem)
{
	varattrib_4b header;
	Size		size;

	if (VARATT_IS_1B_E(value))
	{
		*problem = pstrdup("A value within another one is stored out of line.");
		return false;
	}
	if (VARATT_IS_1B(value))
	{
		if (checker->is_plain)
		{
			*problem = psprintf("A value of type %s has a short header.",
								format_type_be(checker->typid));
			return false;
		}
		return check_contents(checker, VARDATA_1B(value),
							  VARSIZE_1B(value) - VARHDRSZ_SHORT, problem);
	}

	memset(&header, 0, sizeof(header));
	memcpy(&header, value, VARHDRSZ);
	size = VARSIZE_4B(&header);
	if (!VARATT_IS_4B_C(&header))
		return check_contents(checker, value + VARHDRSZ, size - VARHDRSZ,
							  problem);
	if (checker->is_plain)
	{
		*problem = psprintf("A value of type %s is compressed.",
							format_type_be(checker->typid));
		return false;
	}
	return check_compressed(checker, value, size, problem);
}

static bool
check_label(WalredoValueChecker *checker, Oid label, const char **problem)
{
	if (bsearch(&label, checker->labels, checker->nlabels, sizeof(Oid),
				compare_oids) != NULL)
		return true;
	*problem = psprintf("A value of type %s is the label with OID %u, which does not exist, or no longer.",
						format_type_be(checker->typid), label);
	return false;
}

WalredoValueChecker *
walredo_value_checker(Oid typid)
{
	WalredoValueChecker *checker = create_checker(CurrentMemoryContext, typid);

	if (checker == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot check values of type %s",
						format_type_be(typid)),
				 errdetail("It is a pseudo-type, or a type of a version of PostgreSQL that is not supported.")));
	return checker;
}

bool
walredo_check_value(WalredoValueChecker *checker, Datum value,
					const char **problem)
{
	if (checker->layout.typlen == -1)
		return check_varlena(checker, DatumGetPointer(value), problem);
	switch (checker->type_class)
	{
		case TYPE_ENUM:
			return check_label(checker, DatumGetObjectId(value), problem);
		case TYPE_BUILTIN:
			return checker->builtin->check_datum == NULL ||
				checker->builtin->check_datum(value, problem);
		default:
			return true;
	}
}
