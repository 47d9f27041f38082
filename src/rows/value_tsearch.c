/*-------------------------------------------------------------------------
 *
 * value_tsearch.c
 *	  What values of types tsvector and tsquery must be like.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value_tsearch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rows/value_types.h"
#include "tcop/tcopprot.h"
#include "tsearch/ts_type.h"

/*
 * What the functions of tsquery take of the stack for each level of a query, or
 * a little more: infix() in tsquery.c takes less than 130 bytes.  They raise an
 * error if it is not enough.
 */
#define QUERY_LEVEL_STACK	160

/* A query that is read, and the next of its items. */
typedef struct QueryReader
{
	const char *items;
	int32		nitems;
	int32		next;
	int			depth;			/* how many items the next one is within */
	const char *operands;
	Size		operands_size;
	Size		operands_used;
	const char **problem;
} QueryReader;

/*
 * Compares lexemes as tsCompareString() in tsvector_op.c does.
 */
static int
compare_lexemes(const char *a, Size a_length, const char *b, Size b_length)
{
	int			result = memcmp(a, b, Min(a_length, b_length));

	if (result != 0)
		return result;
	return a_length < b_length ? -1 : a_length > b_length;
}

/*
 * The positions of a lexeme, which begin at *offset of what follows the
 * entries, but for padding.  Sets *offset to their end.
 */
static bool
check_positions(const char *lexemes, Size size, Size *offset)
{
	Size		begin = SHORTALIGN(*offset);
	unsigned	count;
	int			last = 0;

	if (begin > size || size - begin < sizeof(uint16))
		return false;
	count = walredo_get_uint16(lexemes + begin);
	begin += sizeof(uint16);
	if (count > MAXNUMPOS || size - begin < count * sizeof(WordEntryPos))
		return false;
	for (unsigned i = 0; i < count; i++)
	{
		WordEntryPos position = walredo_get_uint16(lexemes + begin);

		if (WEP_GETPOS(position) < last)
			return false;
		last = WEP_GETPOS(position);
		begin += sizeof(WordEntryPos);
	}
	*offset = begin;
	return true;
}

/*
 * The entries of a vector are sorted by their lexemes; these can be in any
 * order, but no two of them share bytes.  tsvectorout() relies on the latter:
 * it adds the lengths.
 */
bool
walredo_check_tsvector(const char *data, Size size, const char **problem)
{
	int32		nentries = -1;
	const char *entries;
	const char *lexemes;
	Size		lexemes_size;
	Size		used = 0;
	WordEntry	last = {0};

	if (size >= sizeof(int32))
		nentries = (int32) walredo_get_uint32(data);
	if (nentries < 0 ||
		nentries > (size - sizeof(int32)) / sizeof(WordEntry))
	{
		*problem = psprintf("A text search vector of %d lexemes has %zu bytes.",
							nentries, size);
		return false;
	}
	entries = data + sizeof(int32);
	lexemes = entries + nentries * sizeof(WordEntry);
	lexemes_size = size - sizeof(int32) - nentries * sizeof(WordEntry);

	for (int32 i = 0; i < nentries; i++)
	{
		WordEntry	entry;
		Size		end;

		CHECK_FOR_INTERRUPTS();
		memcpy(&entry, entries + i * sizeof(WordEntry), sizeof(entry));
		end = (Size) entry.pos + entry.len;
		if (end > lexemes_size)
		{
			*problem = psprintf("Lexeme %d of a text search vector ends at byte %zu of %zu.",
								i + 1, end, lexemes_size);
			return false;
		}
		if (!walredo_check_text(lexemes + entry.pos, entry.len, problem))
			return false;
		if (i > 0 &&
			compare_lexemes(lexemes + last.pos, last.len,
							lexemes + entry.pos, entry.len) >= 0)
		{
			*problem = psprintf("Lexeme %d of a text search vector is not after the one before.",
								i + 1);
			return false;
		}
		if (entry.haspos && !check_positions(lexemes, lexemes_size, &end))
		{
			*problem = psprintf("The positions of lexeme %d of a text search vector are broken.",
								i + 1);
			return false;
		}
		used += end - entry.pos;
		if (used > lexemes_size)
		{
			*problem = pstrdup("Lexemes of a text search vector share bytes.");
			return false;
		}
		last = entry;
	}
	return true;
}

static bool
check_operand(QueryReader *reader, const QueryOperand *operand)
{
	Size		length = operand->length;
	const char *text;

	/* A boolean that is not 0 or 1 must not be read as one. */
	if (operand->weight > 0xF ||
		((const unsigned char *) operand)[offsetof(QueryOperand, prefix)] > 1)
	{
		*reader->problem = psprintf("Item %d of a text search query has unknown flags.",
									reader->next);
		return false;
	}
	reader->operands_used += length + 1;
	if (length > MAXSTRLEN ||
		operand->distance + length + 1 > reader->operands_size ||
		reader->operands_used > reader->operands_size)
	{
		*reader->problem = psprintf("Operand %d of a text search query has %zu bytes, from byte %u on, of %zu.",
									reader->next, length, operand->distance,
									reader->operands_size);
		return false;
	}
	text = reader->operands + operand->distance;
	if (text[length] != '\0')
	{
		*reader->problem = psprintf("Operand %d of a text search query does not end after %zu bytes.",
									reader->next, length);
		return false;
	}
	return walredo_check_text(text, length, reader->problem);
}

/*
 * An item, and its operands: first the right one, then the left one, as in
 * findoprnd_recurse() in tsquery.c.
 */
static bool
check_query_item(QueryReader *reader)
{
	int32		number = reader->next;
	QueryItem	item;
	bool		is_sound;

	CHECK_FOR_INTERRUPTS();
	if (reader->depth > max_stack_depth * INT64CONST(1024) / QUERY_LEVEL_STACK)
	{
		*reader->problem = psprintf("A text search query has more than %d levels.",
									reader->depth);
		return false;
	}
	if (walredo_value_is_too_deep(reader->problem))
		return false;
	if (number >= reader->nitems)
	{
		*reader->problem = psprintf("A text search query of %d items lacks an operand.",
									reader->nitems);
		return false;
	}
	reader->next++;
	memcpy(&item, reader->items + number * sizeof(QueryItem), sizeof(item));
	if (item.type == QI_VAL)
		return check_operand(reader, &item.qoperand);

	if (item.type != QI_OPR)
	{
		*reader->problem = psprintf("Item %d of a text search query has the unknown type %d.",
									reader->next, item.type);
		return false;
	}
	switch (item.qoperator.oper)
	{
		case OP_NOT:
			reader->depth++;
			is_sound = check_query_item(reader);
			break;
		case OP_AND:
		case OP_OR:
		case OP_PHRASE:
			reader->depth++;
			if (!check_query_item(reader))
				return false;
			if (item.qoperator.left != reader->next - number)
			{
				*reader->problem = psprintf("The left operand of item %d of a text search query is at distance %u, not %d.",
											number + 1, item.qoperator.left,
											reader->next - number);
				return false;
			}
			is_sound = check_query_item(reader);
			break;
		default:
			*reader->problem = psprintf("Item %d of a text search query has the unknown operator %d.",
										reader->next, item.qoperator.oper);
			return false;
	}
	reader->depth--;
	return is_sound;
}

bool
walredo_check_tsquery(const char *data, Size size, const char **problem)
{
	QueryReader reader;
	int32		nitems = -1;

	if (size >= sizeof(int32))
		nitems = (int32) walredo_get_uint32(data);
	if (nitems < 0 || nitems > (size - sizeof(int32)) / sizeof(QueryItem))
	{
		*problem = psprintf("A text search query of %d items has %zu bytes.",
							nitems, size);
		return false;
	}
	if (nitems == 0)
		return true;

	reader.items = data + sizeof(int32);
	reader.nitems = nitems;
	reader.next = 0;
	reader.depth = 0;
	reader.operands = reader.items + nitems * sizeof(QueryItem);
	reader.operands_size = size - sizeof(int32) - nitems * sizeof(QueryItem);
	reader.operands_used = 0;
	reader.problem = problem;
	if (!check_query_item(&reader))
		return false;
	if (reader.next != nitems)
	{
		*problem = psprintf("A text search query of %d items ends with item %d.",
							nitems, reader.next);
		return false;
	}
	return true;
}
