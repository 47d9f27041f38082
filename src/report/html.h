/*-------------------------------------------------------------------------
 *
 * html.h
 *	  Writing reports as HTML documents with drawings in SVG.
 *
 * A report is one document that needs nothing else: no script, and nothing from
 * outside.  It is XML as well, so that XML parsers can read it.  It is written
 * into a StringInfo, as plain ASCII, whatever the encoding of the database and
 * of the client are.
 *
 * What is written is the names of relations, descriptions of records and the
 * bytes of rows, which users choose.  So text goes only through the functions
 * below, which escape it.  Markup that the caller appends itself must be
 * constant, and class names must be.  Coordinates are in CSS pixels.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/html.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_HTML_H
#define WALREDO_REPORT_HTML_H

#include "postgres.h"

#include "lib/stringinfo.h"

/*
 * Begins a document: its head with the style sheet, which has colours for a
 * light and a dark screen and for paper, and patterns; and opens its body, with
 * the title as heading.  walredo_html_end() closes what this has opened.
 */
extern void walredo_html_begin(StringInfo out, const char *title);
extern void walredo_html_end(StringInfo out);

/*
 * Append text, for the contents of an element or for an attribute in double
 * quotes: length bytes in the encoding of the database, a string, or what a
 * format makes, all of which is escaped.  Bytes that are no character in that
 * encoding, control characters but for tabs and new lines, and characters that
 * change the direction of what comes after them, appear as \x and their number
 * in hexadecimal.  No errors.
 */
extern void walredo_html_bytes(StringInfo out, const char *bytes, Size length);
extern void walredo_html_text(StringInfo out, const char *text);
extern void walredo_html_format(StringInfo out, const char *format,...)
			pg_attribute_printf(2, 3);

/*
 * Appends an element that has only text, which is made by a format and escaped:
 * <name class="class">text</name>.  class can be NULL.
 */
extern void walredo_html_element(StringInfo out, const char *name,
								 const char *class, const char *format,...)
			pg_attribute_printf(4, 5);

/*
 * Appends a box that says something about the document, with its sort in bold.
 * class can be "damage", "good", or NULL.
 */
extern void walredo_html_note(StringInfo out, const char *class,
							  const char *sort, const char *format,...)
			pg_attribute_printf(4, 5);

/*
 * A table: begin, then rows, each of ncolumns cells, then end.  The first cell
 * of a row is its header.  A cell that is NULL stays empty.  Columns whose name
 * begins with '#' have numbers, which are set to the right; cells of those that
 * begin with '=' are not broken into lines.  Neither is shown.
 */
typedef struct WalredoHtmlTable
{
	int			ncolumns;
	const char *const *columns;
} WalredoHtmlTable;

extern void walredo_html_table_begin(StringInfo out, WalredoHtmlTable *table,
									 const char *caption,
									 const char *const *columns, int ncolumns);
extern void walredo_html_table_row(StringInfo out,
								   const WalredoHtmlTable *table,
								   const char *class,
								   const char *const *cells);

/*
 * The same for a row that links lead to: see walredo_svg_link_begin().  id is
 * that of the row, or NULL.
 */
extern void walredo_html_table_target(StringInfo out,
									  const WalredoHtmlTable *table,
									  const char *class, const char *id,
									  const char *const *cells);
extern void walredo_html_table_end(StringInfo out);

/*
 * Begins a drawing.  Its title and description are what a screen reader says of
 * it.  id must be constant or a number, and unique in the document.
 */
extern void walredo_svg_begin(StringInfo out, const char *id, int width,
							  int height, const char *title,
							  const char *description);
extern void walredo_svg_end(StringInfo out);

/* A rectangle, and text in a drawing.  title, which is shown on hover, can be
 * NULL. */
extern void walredo_svg_rect(StringInfo out, const char *class, double x,
							 double y, double width, double height,
							 const char *title);
extern void walredo_svg_text(StringInfo out, const char *class, double x,
							 double y, const char *text);

/*
 * What a drawing has between these two is a link to the element of the document
 * that has this id, which must be constant or a number.
 */
extern void walredo_svg_link_begin(StringInfo out, const char *id);
extern void walredo_svg_link_end(StringInfo out);

/*
 * A path: begin, then parts of it, then end.  title can be NULL.
 *
 * walredo_svg_cells() adds the outline of the cells from number first up to,
 * but not including, number end of a grid: cells have a size of
 * cell_width * cell_height, and are numbered row by row.
 */
typedef struct WalredoSvgGrid
{
	double		x;				/* of the grid's corner */
	double		y;
	double		cell_width;
	double		cell_height;
	int			columns;
} WalredoSvgGrid;

extern void walredo_svg_path_begin(StringInfo out, const char *class);
extern void walredo_svg_cells(StringInfo out, const WalredoSvgGrid *grid,
							  int64 first, int64 end);
extern void walredo_svg_path_end(StringInfo out, const char *title);

/*
 * A legend: what each class of a drawing looks like, and means.  letter is
 * written into the sample, for those who cannot tell the colours; it can be
 * NULL.
 */
typedef struct WalredoHtmlKey
{
	const char *class;
	const char *letter;
	const char *label;
} WalredoHtmlKey;

extern void walredo_html_legend(StringInfo out, const WalredoHtmlKey *keys,
								int nkeys);

#endif							/* WALREDO_REPORT_HTML_H */
