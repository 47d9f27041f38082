/*-------------------------------------------------------------------------
 *
 * value_json.c
 *	  What values of types jsonb and jsonpath must be like.
 *
 * Both are trees in which a node has the places of its children.  The functions
 * of the types go wherever these are, so that a tree with a circle, or in which
 * many nodes have one child, would be read for ever.  But the server writes the
 * nodes of a tree one after the other, and a tree that it has not written like
 * this is refused.  Hence each byte is looked at once.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "rows/value_types.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"

/* ----------------------------------------
 * jsonb
 * ----------------------------------------
 */

/*
 * A numeric with its header, as jsonb and jsonpath have it, of at most size
 * bytes.  Sets *length to its length.
 */
static bool
check_inner_numeric(const char *data, Size size, Size *length,
					const char **problem)
{
	varattrib_4b header;

	memset(&header, 0, sizeof(header));
	memcpy(&header, data, Min(size, VARHDRSZ));
	*length = VARSIZE_4B(&header);
	if (size < VARHDRSZ || !VARATT_IS_4B_U(&header) ||
		*length < VARHDRSZ || *length > size)
	{
		*problem = psprintf("A numeric in JSON has a broken header, or is longer than its %zu bytes.",
							size);
		return false;
	}
	return walredo_check_numeric(data + VARHDRSZ, *length - VARHDRSZ, problem);
}

/*
 * Are two keys of an object in their order, which is that of
 * lengthCompareJsonbString() in jsonb_util.c?
 */
static bool
keys_are_sorted(const char *key, Size length, const char *next,
				Size next_length)
{
	return length != next_length ? length < next_length :
		memcmp(key, next, length) < 0;
}

/*
 * A container: an array or an object, of exactly size bytes.
 */
static bool
check_jsonb_container(const char *data, Size size, bool is_root,
					  const char **problem)
{
	uint32		header = 0;
	uint32		count;
	uint32		nentries;
	bool		is_object;
	const char *children;
	const char *contents;
	Size		contents_size;
	Size		begin = 0;
	const char *key = NULL;
	Size		key_length = 0;

	if (walredo_value_is_too_deep(problem))
		return false;
	if (size >= sizeof(uint32))
		header = walredo_get_uint32(data);
	is_object = (header & JB_FOBJECT) != 0;
	count = header & JB_CMASK;
	nentries = is_object ? count * 2 : count;
	if (size < sizeof(uint32) ||
		is_object == ((header & JB_FARRAY) != 0) ||
		(header & ~(JB_CMASK | JB_FSCALAR | JB_FOBJECT | JB_FARRAY)) != 0 ||
		((header & JB_FSCALAR) != 0 &&
		 (!is_root || is_object || count != 1)) ||
		nentries > (size - sizeof(uint32)) / sizeof(JEntry))
	{
		*problem = psprintf("An array or object in JSON has the header %08X in %zu bytes.",
							header, size);
		return false;
	}
	children = data + sizeof(uint32);
	contents = children + nentries * sizeof(JEntry);
	contents_size = size - sizeof(uint32) - nentries * sizeof(JEntry);

	for (uint32 i = 0; i < nentries; i++)
	{
		JEntry		entry = walredo_get_uint32(children + i * sizeof(JEntry));
		Size		end = JBE_OFFLENFLD(entry);
		Size		aligned;
		bool		is_sound;

		CHECK_FOR_INTERRUPTS();
		if (!JBE_HAS_OFF(entry))
			end += begin;
		if (end < begin || end > contents_size)
		{
			*problem = psprintf("Entry %u in JSON ends at byte %zu, but begins at byte %zu of %zu.",
								i + 1, end, begin, contents_size);
			return false;
		}

		/* Numbers and containers are aligned in the value as a whole. */
		aligned = INTALIGN(contents + begin - data) - (contents - data);
		switch (entry & JENTRY_TYPEMASK)
		{
			case JENTRY_ISSTRING:
				if (!walredo_check_text(contents + begin, end - begin, problem))
					return false;
				is_sound = true;
				if (is_object && i < count)
				{
					is_sound = key == NULL ||
						keys_are_sorted(key, key_length, contents + begin,
										end - begin);
					key = contents + begin;
					key_length = end - begin;
				}
				break;
			case JENTRY_ISNUMERIC:
				is_sound = aligned <= end;
				if (is_sound)
				{
					Size		length;

					if (!check_inner_numeric(contents + aligned, end - aligned,
											 &length, problem))
						return false;
					is_sound = aligned + length == end;
				}
				break;
			case JENTRY_ISCONTAINER:
				is_sound = aligned <= end && (header & JB_FSCALAR) == 0;
				if (is_sound &&
					!check_jsonb_container(contents + aligned, end - aligned,
										   false, problem))
					return false;
				break;
			case JENTRY_ISBOOL_FALSE:
			case JENTRY_ISBOOL_TRUE:
			case JENTRY_ISNULL:
				is_sound = begin == end;
				break;
			default:
				is_sound = false;
				break;
		}
		if (is_object && i < count && !JBE_ISSTRING(entry))
			is_sound = false;
		if (!is_sound)
		{
			*problem = psprintf("Entry %u in JSON has the unknown type or length %08X, or is out of order.",
								i + 1, entry);
			return false;
		}
		begin = end;
	}
	if (begin != contents_size)
	{
		*problem = psprintf("An array or object in JSON ends at byte %zu of %zu.",
							begin, contents_size);
		return false;
	}
	return true;
}

bool
walredo_check_jsonb(const char *data, Size size, const char **problem)
{
	return check_jsonb_container(data, size, true, problem);
}

/* ----------------------------------------
 * jsonpath
 * ----------------------------------------
 */

/* What an item of each type has after its type and the place of the next. */
typedef enum PathItemForm
{
	PATH_ITEM_UNKNOWN,
	PATH_ITEM_PLAIN,			/* nothing */
	PATH_ITEM_STRING,
	PATH_ITEM_NUMERIC,
	PATH_ITEM_BOOL,
	PATH_ITEM_ONE,				/* the place of an argument */
	PATH_ITEM_NONE_OR_ONE,
	PATH_ITEM_TWO,
	PATH_ITEM_NONE_TO_TWO,
	PATH_ITEM_REGEX,
	PATH_ITEM_SUBSCRIPTS,
	PATH_ITEM_LEVELS
} PathItemForm;

/* A path that is read, and how far it has been read. */
typedef struct PathReader
{
	const char *data;
	Size		size;
	Size		offset;
	const char **problem;
} PathReader;

/*
 * The cases are those of flattenJsonPathParseItem() in jsonpath.c.
 */
static PathItemForm
path_item_form(int type)
{
	switch (type)
	{
		case jpiNull:
		case jpiRoot:
		case jpiCurrent:
		case jpiLast:
		case jpiAnyArray:
		case jpiAnyKey:
		case jpiType:
		case jpiSize:
		case jpiAbs:
		case jpiFloor:
		case jpiCeiling:
		case jpiDouble:
		case jpiKeyValue:
		case jpiBigint:
		case jpiBoolean:
		case jpiDate:
		case jpiInteger:
		case jpiNumber:
		case jpiStringFunc:
		case jpiStrLower:
		case jpiStrUpper:
		case jpiStrInitcap:
			return PATH_ITEM_PLAIN;
		case jpiString:
		case jpiVariable:
		case jpiKey:
			return PATH_ITEM_STRING;
		case jpiNumeric:
			return PATH_ITEM_NUMERIC;
		case jpiBool:
			return PATH_ITEM_BOOL;
		case jpiFilter:
		case jpiIsUnknown:
		case jpiNot:
		case jpiPlus:
		case jpiMinus:
		case jpiExists:
			return PATH_ITEM_ONE;
		case jpiDatetime:
		case jpiTime:
		case jpiTimeTz:
		case jpiTimestamp:
		case jpiTimestampTz:
		case jpiStrLtrim:
		case jpiStrRtrim:
		case jpiStrBtrim:
			return PATH_ITEM_NONE_OR_ONE;
		case jpiAnd:
		case jpiOr:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiAdd:
		case jpiSub:
		case jpiMul:
		case jpiDiv:
		case jpiMod:
		case jpiStartsWith:
		case jpiStrReplace:
		case jpiStrSplitPart:
			return PATH_ITEM_TWO;
		case jpiDecimal:
			return PATH_ITEM_NONE_TO_TWO;
		case jpiLikeRegex:
			return PATH_ITEM_REGEX;
		case jpiIndexArray:
			return PATH_ITEM_SUBSCRIPTS;
		case jpiAny:
			return PATH_ITEM_LEVELS;
		default:
			return PATH_ITEM_UNKNOWN;
	}
}

static bool
path_is_broken(PathReader *reader, const char *what)
{
	*reader->problem = psprintf("A JSON path is broken at byte %zu of %zu: %s.",
								reader->offset, reader->size, what);
	return false;
}

static bool
read_path_number(PathReader *reader, int32 *number)
{
	if (reader->size - reader->offset < sizeof(int32))
		return path_is_broken(reader, "a number is incomplete");
	*number = (int32) walredo_get_uint32(reader->data + reader->offset);
	reader->offset += sizeof(int32);
	return true;
}

/*
 * A string of length bytes, with a zero byte after it.
 */
static bool
read_path_string(PathReader *reader, int32 length)
{
	if (length < 0 || reader->size - reader->offset <= length)
		return path_is_broken(reader, "a string is incomplete");
	if (!walredo_check_text(reader->data + reader->offset, length,
							reader->problem))
		return false;
	reader->offset += length;
	if (reader->data[reader->offset] != '\0')
		return path_is_broken(reader, "a string does not end");
	reader->offset++;
	return true;
}

static bool check_path_item(PathReader *reader);

/*
 * Reads the item whose place, counted from the item at parent, is place.
 */
static bool
check_path_child(PathReader *reader, Size parent, int32 place)
{
	if (place < 0 || parent + place != reader->offset)
		return path_is_broken(reader, "an item is not after the one before");
	return check_path_item(reader);
}

/*
 * The subscripts of an array: pairs of the places of expressions, of which the
 * second one may be missing, and then these.
 */
static bool
check_path_subscripts(PathReader *reader, Size parent)
{
	int32		count;
	const char *places;

	if (!read_path_number(reader, &count))
		return false;
	if (count < 0 ||
		count > (reader->size - reader->offset) / (2 * sizeof(int32)))
		return path_is_broken(reader, "a list of subscripts is incomplete");
	places = reader->data + reader->offset;
	reader->offset += count * 2 * sizeof(int32);
	for (int32 i = 0; i < count; i++)
	{
		int32		from = (int32) walredo_get_uint32(places);
		int32		to = (int32) walredo_get_uint32(places + sizeof(int32));

		if (!check_path_child(reader, parent, from) ||
			(to != 0 && !check_path_child(reader, parent, to)))
			return false;
		places += 2 * sizeof(int32);
	}
	return true;
}

/*
 * An item, and all items that it has places of.
 */
static bool
check_path_item(PathReader *reader)
{
	Size		begin = reader->offset;
	int			type;
	PathItemForm form;
	int32		next;
	int32		numbers[2];
	Size		length;

	CHECK_FOR_INTERRUPTS();
	if (walredo_value_is_too_deep(reader->problem))
		return false;
	if (begin >= reader->size)
		return path_is_broken(reader, "an item is missing");
	type = (unsigned char) reader->data[begin];
	reader->offset = INTALIGN(begin + 1);
	if (reader->offset > reader->size)
		return path_is_broken(reader, "an item is incomplete");
	if (!read_path_number(reader, &next))
		return false;

	form = path_item_form(type);
	switch (form)
	{
		case PATH_ITEM_UNKNOWN:
			return path_is_broken(reader, "the type of an item is unknown");
		case PATH_ITEM_PLAIN:
			break;
		case PATH_ITEM_STRING:
			if (!read_path_number(reader, &numbers[0]) ||
				!read_path_string(reader, numbers[0]))
				return false;
			break;
		case PATH_ITEM_NUMERIC:
			if (!check_inner_numeric(reader->data + reader->offset,
									 reader->size - reader->offset,
									 &length, reader->problem))
				return false;
			reader->offset += length;
			break;
		case PATH_ITEM_BOOL:
			if (reader->offset == reader->size ||
				(unsigned char) reader->data[reader->offset] > 1)
				return path_is_broken(reader, "a boolean is neither 0 nor 1");
			reader->offset++;
			break;
		case PATH_ITEM_ONE:
		case PATH_ITEM_NONE_OR_ONE:
			if (!read_path_number(reader, &numbers[0]))
				return false;
			if ((form == PATH_ITEM_ONE || numbers[0] != 0) &&
				!check_path_child(reader, begin, numbers[0]))
				return false;
			break;
		case PATH_ITEM_TWO:
		case PATH_ITEM_NONE_TO_TWO:
			if (!read_path_number(reader, &numbers[0]) ||
				!read_path_number(reader, &numbers[1]))
				return false;
			for (int i = 0; i < 2; i++)
			{
				if ((form == PATH_ITEM_TWO || numbers[i] != 0) &&
					!check_path_child(reader, begin, numbers[i]))
					return false;
			}
			break;
		case PATH_ITEM_REGEX:

			/* Flags, the place of the expression, and the pattern. */
			if (!read_path_number(reader, &numbers[0]) ||
				!read_path_number(reader, &numbers[0]) ||
				!read_path_number(reader, &numbers[1]) ||
				!read_path_string(reader, numbers[1]) ||
				!check_path_child(reader, begin, numbers[0]))
				return false;
			break;
		case PATH_ITEM_SUBSCRIPTS:
			if (!check_path_subscripts(reader, begin))
				return false;
			break;
		case PATH_ITEM_LEVELS:
			if (!read_path_number(reader, &numbers[0]) ||
				!read_path_number(reader, &numbers[1]))
				return false;
			break;
	}
	return next == 0 || check_path_child(reader, begin, next);
}

bool
walredo_check_jsonpath(const char *data, Size size, const char **problem)
{
	PathReader	reader;
	uint32		header = 0;

	if (size >= sizeof(uint32))
		header = walredo_get_uint32(data);
	if ((header & ~JSONPATH_LAX) != JSONPATH_VERSION)
	{
		*problem = psprintf("A JSON path of %zu bytes has the unknown header %08X.",
							size, header);
		return false;
	}
	reader.data = data + sizeof(uint32);
	reader.size = size - sizeof(uint32);
	reader.offset = 0;
	reader.problem = problem;
	if (!check_path_item(&reader))
		return false;
	if (reader.offset != reader.size)
		return path_is_broken(&reader, "there are bytes after the last item");
	return true;
}
