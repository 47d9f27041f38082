/*-------------------------------------------------------------------------
 *
 * parse.c
 *	  Reading the text forms of walredo_tag and walredo_record.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/parse.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "parser/scansup.h"

#include "record/parse.h"

/*
 * Text of a record can be tens of megabytes: quote no more than so many bytes
 * of it in a message.
 */
#define MAX_QUOTED_BYTES	64

static int	quoted_len(const char *text, const char **ellipsis);

void
walredo_parse_begin(WalredoParser *scan, const char *type, const char *input)
{
	scan->type = type;
	scan->input = input;
	scan->at = input;
}

/*
 * How many bytes of text go into a message, cut at a character's end.
 */
static int
quoted_len(const char *text, const char **ellipsis)
{
	size_t		len = strnlen(text, MAX_QUOTED_BYTES + 1);

	*ellipsis = "";
	if (len <= MAX_QUOTED_BYTES)
		return len;
	*ellipsis = "...";

	/* the next bytes complete the last character, if it has any more */
	len = MAX_QUOTED_BYTES + strnlen(text + MAX_QUOTED_BYTES,
									 MAX_MULTIBYTE_CHAR_LEN);
	return pg_mbcliplen(text, len, MAX_QUOTED_BYTES);
}

void
walredo_parse_fail(WalredoParser *scan, const char *expected)
{
	const char *input_more;
	const char *at_more;
	int			input_len = quoted_len(scan->input, &input_more);
	int			at_len = quoted_len(scan->at, &at_more);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%.*s%s\"",
					scan->type, input_len, scan->input, input_more),
			 at_len == 0 ?
			 errdetail("Expected %s at the end.", expected) :
			 errdetail("Expected %s at \"%.*s%s\".",
					   expected, at_len, scan->at, at_more)));
}

bool
walredo_parse_try(WalredoParser *scan, const char *literal)
{
	size_t		len = strlen(literal);

	if (strncmp(scan->at, literal, len) != 0)
		return false;
	scan->at += len;
	return true;
}

bool
walredo_parse_try_word(WalredoParser *scan, const char *word)
{
	WalredoParser saved = *scan;

	walredo_parse_blanks(scan);
	if (walredo_parse_try(scan, word) &&
		(*scan->at == '\0' || scanner_isspace(*scan->at)))
		return true;
	*scan = saved;
	return false;
}

void
walredo_parse_literal(WalredoParser *scan, const char *literal)
{
	if (!walredo_parse_try(scan, literal))
		walredo_parse_fail(scan, psprintf("\"%s\"", literal));
}

void
walredo_parse_word(WalredoParser *scan, const char *word)
{
	if (!walredo_parse_try_word(scan, word))
	{
		walredo_parse_blanks(scan);
		walredo_parse_fail(scan, psprintf("\"%s\"", word));
	}
}

void
walredo_parse_blanks(WalredoParser *scan)
{
	const char *start = scan->at;

	while (scanner_isspace(*scan->at))
		scan->at++;
	if (scan->at == start && start != scan->input && *start != '\0')
		walredo_parse_fail(scan, "a blank");
}

uint64
walredo_parse_number(WalredoParser *scan, uint64 max, const char *what)
{
	const char *start = scan->at;
	uint64		value = 0;

	while (*scan->at >= '0' && *scan->at <= '9')
	{
		uint64		digit = *scan->at - '0';

		/* rearranged so that nothing in it can overflow */
		if (value > max / 10 || digit > max - value * 10)
		{
			scan->at = start;
			walredo_parse_fail(scan, psprintf("%s of at most " UINT64_FORMAT,
											  what, max));
		}
		value = value * 10 + digit;
		scan->at++;
	}
	if (scan->at == start)
		walredo_parse_fail(scan, what);
	return value;
}

int64
walredo_parse_int64(WalredoParser *scan, const char *what)
{
	uint64		value;

	if (!walredo_parse_try(scan, "-"))
		return (int64) walredo_parse_number(scan, PG_INT64_MAX, what);

	value = walredo_parse_number(scan, (uint64) PG_INT64_MAX + 1, what);
	/* negate as unsigned: the lowest number has no positive counterpart */
	return (int64) (UINT64CONST(0) - value);
}

uint64
walredo_parse_hex(WalredoParser *scan, int min_digits, int max_digits,
				  bool upper, const char *what)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789ABCDEFabcdef";
	int			len = strspn(scan->at, digits);
	uint64		value = 0;

	Assert(max_digits <= 16);

	if (len < min_digits || len > max_digits)
		walredo_parse_fail(scan, what);
	for (int i = 0; i < len; i++)
	{
		char		c = *scan->at++;

		value = value << 4 |
			(c <= '9' ? c - '0' : c <= 'F' ? c - 'A' + 10 : c - 'a' + 10);
	}
	return value;
}

void
walredo_parse_end(WalredoParser *scan)
{
	const char *start = scan->at;

	while (scanner_isspace(*scan->at))
		scan->at++;
	if (*scan->at != '\0')
	{
		scan->at = start;
		walredo_parse_fail(scan, "nothing more");
	}
}
