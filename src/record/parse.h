/*-------------------------------------------------------------------------
 *
 * parse.h
 *	  Reading the text forms of walredo_tag and walredo_record.
 *
 * A cursor over a null-terminated string, and one function for each thing
 * that can stand there.  Whatever is not as expected ends in ERROR 22P02, with
 * a DETAIL that says what was expected and what was found.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/parse.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PARSE_H
#define WALREDO_PARSE_H

#include "postgres.h"

typedef struct WalredoParser
{
	const char *type;			/* name of the SQL type, for errors */
	const char *input;			/* the whole text, for errors */
	const char *at;				/* next byte to read */
} WalredoParser;

extern void walredo_parse_begin(WalredoParser *parser, const char *type,
								const char *input);

/* Raises the error; expected completes the sentence "Expected ...". */
extern void walredo_parse_fail(WalredoParser *parser, const char *expected);

/* Steps over literal, if it stands at the cursor. */
extern bool walredo_parse_try(WalredoParser *parser, const char *literal);

/*
 * Steps over blanks and the word after them, if that is word.  A word ends at
 * a blank or at the end.
 */
extern bool walredo_parse_try_word(WalredoParser *parser, const char *word);

/* As the two above, but literal or word must stand there. */
extern void walredo_parse_literal(WalredoParser *parser, const char *literal);
extern void walredo_parse_word(WalredoParser *parser, const char *word);

/*
 * Steps over the blanks between two words, of which there must be at least
 * one; at the start of the text there may be none.
 */
extern void walredo_parse_blanks(WalredoParser *parser);

/* Reads a decimal number of 0 to max. */
extern uint64 walredo_parse_number(WalredoParser *parser, uint64 max,
								   const char *what);

/* Reads a decimal number with an optional minus sign. */
extern int64 walredo_parse_int64(WalredoParser *parser, const char *what);

/*
 * Reads a hexadecimal number of min_digits to max_digits (at most 16).
 * Letters must be upper-case if upper is set.
 */
extern uint64 walredo_parse_hex(WalredoParser *parser, int min_digits,
								int max_digits, bool upper, const char *what);

/* Only blanks may follow. */
extern void walredo_parse_end(WalredoParser *parser);

#endif							/* WALREDO_PARSE_H */
