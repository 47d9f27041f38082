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
walredo_parse_begin(WalredoParser *parser, const char *type, const char *input)
{
	parser->type = type;
	parser->input = input;
	parser->at = input;
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
walredo_parse_fail(WalredoParser *parser, const char *expected)
{
	const char *input_more;
	const char *at_more;
	int			input_len = quoted_len(parser->input, &input_more);
	int			at_len = quoted_len(parser->at, &at_more);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%.*s%s\"",
					parser->type, input_len, parser->input, input_more),
			 at_len == 0 ?
			 errdetail("Expected %s at the end.", expected) :
			 errdetail("Expected %s at \"%.*s%s\".",
					   expected, at_len, parser->at, at_more)));
}

bool
walredo_parse_try(WalredoParser *parser, const char *literal)
{
	size_t		len = strlen(literal);

	if (strncmp(parser->at, literal, len) != 0)
		return false;
	parser->at += len;
	return true;
}

bool
walredo_parse_try_word(WalredoParser *parser, const char *word)
{
	WalredoParser saved = *parser;

	walredo_parse_blanks(parser);
	if (walredo_parse_try(parser, word) &&
		(*parser->at == '\0' || scanner_isspace(*parser->at)))
		return true;
	*parser = saved;
	return false;
}

void
walredo_parse_literal(WalredoParser *parser, const char *literal)
{
	if (!walredo_parse_try(parser, literal))
		walredo_parse_fail(parser, psprintf("\"%s\"", literal));
}

void
walredo_parse_word(WalredoParser *parser, const char *word)
{
	if (!walredo_parse_try_word(parser, word))
	{
		walredo_parse_blanks(parser);
		walredo_parse_fail(parser, psprintf("\"%s\"", word));
	}
}

void
walredo_parse_blanks(WalredoParser *parser)
{
	const char *start = parser->at;

	while (scanner_isspace(*parser->at))
		parser->at++;
	if (parser->at == start && start != parser->input && *start != '\0')
		walredo_parse_fail(parser, "a blank");
}

uint64
walredo_parse_number(WalredoParser *parser, uint64 max, const char *what)
{
	const char *start = parser->at;
	uint64		value = 0;

	while (*parser->at >= '0' && *parser->at <= '9')
	{
		uint64		digit = *parser->at - '0';

		/* rearranged so that nothing in it can overflow */
		if (value > max / 10 || digit > max - value * 10)
		{
			parser->at = start;
			walredo_parse_fail(parser, psprintf("%s of at most " UINT64_FORMAT,
												what, max));
		}
		value = value * 10 + digit;
		parser->at++;
	}
	if (parser->at == start)
		walredo_parse_fail(parser, what);
	return value;
}

int64
walredo_parse_int64(WalredoParser *parser, const char *what)
{
	uint64		value;

	if (!walredo_parse_try(parser, "-"))
		return (int64) walredo_parse_number(parser, PG_INT64_MAX, what);

	value = walredo_parse_number(parser, (uint64) PG_INT64_MAX + 1, what);
	/* negate as unsigned: the lowest number has no positive counterpart */
	return (int64) (UINT64CONST(0) - value);
}

uint64
walredo_parse_hex(WalredoParser *parser, int min_digits, int max_digits,
				  bool upper, const char *what)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789ABCDEFabcdef";
	int			len = strspn(parser->at, digits);
	uint64		value = 0;

	Assert(max_digits <= 16);

	if (len < min_digits || len > max_digits)
		walredo_parse_fail(parser, what);
	for (int i = 0; i < len; i++)
	{
		char		c = *parser->at++;

		value = value << 4 |
			(c <= '9' ? c - '0' : c <= 'F' ? c - 'A' + 10 : c - 'a' + 10);
	}
	return value;
}

void
walredo_parse_end(WalredoParser *parser)
{
	const char *start = parser->at;

	while (scanner_isspace(*parser->at))
		parser->at++;
	if (*parser->at != '\0')
	{
		parser->at = start;
		walredo_parse_fail(parser, "nothing more");
	}
}
