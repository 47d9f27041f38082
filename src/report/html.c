/*-------------------------------------------------------------------------
 *
 * html.c
 *	  Writing reports as HTML documents with drawings in SVG.
 *
 * Three things keep what a report shows from becoming a part of its markup, or
 * from being loaded:  All text is escaped here, at one place.  What is written
 * is ASCII, so it does not depend on how a client, or a browser, decodes it.
 * And the document forbids the browser to load or to run anything, by a content
 * security policy, so that a mistake in the first would have no effect.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/html.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "report/html.h"

/*
 * The style sheet.  Colours are variables, as a dark screen has others, and
 * they are of different lightness, so that they can be told apart on paper that
 * has no colour; classes that mean trouble have a pattern as well.
 */
static const char style_sheet[] =
"\n:root{color-scheme:light dark;"
"--page:#fff;--ink:#1d2530;--soft:#5a6675;--rule:#d5dbe3;--panel:#f5f7fa;"
"--link:#0b5cad;"
"--header:#3f4f66;--lp:#2f74b5;--lp-dead:#9aa5b1;--lp-redirect:#7a4fa3;"
"--lp-unused:#e3e8ee;--alive:#7cc48f;--dead:#aeb6bf;--locked:#f0b84a;"
"--open:#8fd0de;--unknown:#e9dcc3;--free:#fbfcfd;--special:#a78bc9;"
"--data:#8fb7dd;--posting:#5f94c9;--pivot:#d8b36a;--damage:#c8102e;--change:#d9480f;--change-text:#8f2d06;--text-on:#111820;--halo:#ffffffa0;"
"--h0:#f2f5f8;--h1:#d7e6f0;--h2:#b3d1e4;--h3:#85b6d4;--h4:#5797c1;"
"--h5:#3377aa;--h6:#1d5a8c;--h7:#123f66;--h8:#0a2845}\n"
"@media (prefers-color-scheme:dark){:root{"
"--page:#12161c;--ink:#e4e9ef;--soft:#9aa7b5;--rule:#333d49;--panel:#1a2029;"
"--link:#7db8f0;"
"--header:#a9b8cc;--lp:#5aa2e0;--lp-dead:#69737f;--lp-redirect:#b48ad9;"
"--lp-unused:#3a444f;--alive:#4f9e66;--dead:#68727d;--locked:#c98f1f;"
"--open:#3f8fa0;--unknown:#7d6f52;--free:#1a2029;--special:#8465ab;"
"--data:#4a7fb3;--posting:#2f6199;--pivot:#94712b;--damage:#ff4d5e;--change:#ff9950;--change-text:#ffb27a;--text-on:#fff;--halo:#00000090;"
"--h0:#1c232c;--h1:#1d3347;--h2:#1d4563;--h3:#235c83;--h4:#3277a4;"
"--h5:#4f95c0;--h6:#7ab3d6;--h7:#aad0e8;--h8:#dbeefa}}\n"
"@media print{:root{--page:#fff;--ink:#000;--soft:#444;--rule:#bbb;"
"--panel:#fff;--free:#fff;color-scheme:light}"
"*{-webkit-print-color-adjust:exact;print-color-adjust:exact}"
"main{max-width:none!important;padding:0!important}"
".scroll{overflow:visible}"
".card,figure,tr,.note{break-inside:avoid}h2,caption{break-after:avoid}}\n"
"*{box-sizing:border-box}"
"body{margin:0;background:var(--page);color:var(--ink);"
"font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",\"Noto Sans\","
"\"DejaVu Sans\",sans-serif}"
"main{max-width:1080px;margin:0 auto;padding:28px 24px 40px}"
"h1{font-size:25px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}"
"h2{font-size:18px;margin:34px 0 8px;padding-top:14px;"
"border-top:1px solid var(--rule)}"
"p{margin:6px 0;max-width:72em}.soft{color:var(--soft)}"
"code,.mono,td,pre{font-family:ui-monospace,\"DejaVu Sans Mono\",\"Liberation Mono\","
"Menlo,Consolas,monospace;font-size:13px}"
"pre{overflow-x:auto;margin:6px 0;line-height:1.35}"
"footer{margin-top:36px;padding-top:10px;border-top:1px solid var(--rule);"
"color:var(--soft);font-size:13px}\n"
"figure{margin:12px 0}"
"figcaption{color:var(--soft);font-size:13px}"
"svg.drawing{display:block;max-width:100%;height:auto}"
"svg text{font:11px ui-monospace,\"DejaVu Sans Mono\",\"Liberation Mono\","
"monospace;fill:var(--ink)}svg text.soft{fill:var(--soft)}"
"svg text.on{fill:var(--text-on);pointer-events:none;paint-order:stroke;"
"stroke:var(--halo);stroke-width:2px}"
"svg text.small{font-size:8.5px}"
".k-damage+text.on,.k-damage+.k-frame+text.on{fill:var(--page)}"
"svg text.mid{text-anchor:middle}svg text.end{text-anchor:end}\n"
".scroll{overflow-x:auto}"
"table{border-collapse:collapse;margin:12px 0;font-size:13px;"
"max-width:100%}"
"caption{text-align:left;font-weight:600;padding:0 0 6px}"
"th,td{text-align:left;vertical-align:top;padding:3px 14px 3px 0;"
"border-bottom:1px solid var(--rule);overflow-wrap:break-word}"
"th{font-weight:600}thead th{color:var(--soft);white-space:nowrap}"
"tbody th{font-weight:400}"
"th.num,td.num{text-align:right;white-space:nowrap}"
"td.whole{white-space:nowrap}"
"@media (max-width:760px){table{display:block;overflow-x:auto}}"
"tr:target{background:var(--panel);outline:2px solid var(--link)}"
"tr.damage td,tr.damage th{color:var(--damage);font-weight:600}\n"
".note{border-left:4px solid var(--locked);background:var(--panel);"
"padding:8px 14px;margin:10px 0;overflow-wrap:anywhere}"
".note.damage{border-color:var(--damage)}.note.good{border-color:var(--alive)}"
".note.damage b{color:var(--damage)}\n"
".legend{display:flex;flex-wrap:wrap;gap:5px 20px;list-style:none;"
"padding:0;margin:12px 0;font-size:13px}"
".legend li{display:flex;align-items:center;gap:7px}"
".legend svg{flex:none;display:block}\n"
".bytes code{padding:0 5px}"
".bytes .k-header{background:color-mix(in srgb,var(--header) 30%,transparent)}"
".bytes [class^=k-lp]{background:color-mix(in srgb,var(--lp) 30%,transparent)}"
".bytes .k-alive{background:color-mix(in srgb,var(--alive) 40%,transparent)}"
".bytes .k-dead,.bytes .k-lost{background:color-mix(in srgb,var(--dead) 40%,transparent)}"
".bytes .k-locked,.bytes .k-pivot{background:color-mix(in srgb,var(--locked) 40%,transparent)}"
".bytes .k-open{background:color-mix(in srgb,var(--open) 40%,transparent)}"
".bytes .k-unknown{background:color-mix(in srgb,var(--unknown) 50%,transparent)}"
".bytes .k-data,.bytes .k-posting{background:color-mix(in srgb,var(--data) 40%,transparent)}"
".bytes .k-special{background:color-mix(in srgb,var(--special) 45%,transparent)}"
".bytes .k-change{color:var(--change-text);font-weight:700;text-decoration:underline}"
".bytes .k-differ,.bytes .k-broken{color:var(--damage);font-weight:700;"
"box-shadow:inset 0 0 0 1.5px var(--damage)}\n"
"details summary{cursor:pointer;color:var(--link);margin:8px 0}\n"
".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(236px,1fr));"
"gap:14px;list-style:none;padding:0;margin:14px 0}"
".card{border:1px solid var(--rule);border-radius:6px;padding:9px 10px;"
"background:var(--panel);font-size:12.5px;line-height:1.4;min-width:0;"
"overflow-wrap:anywhere}"
".card h3{font-size:13px;margin:8px 0 2px}.card p{margin:2px 0}"
".card svg.drawing{width:100%}.card .mono{font-size:12px}.time{color:var(--soft);white-space:nowrap;"
"font-variant-numeric:tabular-nums}.card.damage{border:2px solid var(--damage)}"
".card .none{border:1px dashed var(--rule);color:var(--soft);"
"aspect-ratio:2/1;display:grid;place-items:center;padding:8px;"
"text-align:center}\n"
".k-frame{fill:none;stroke:var(--rule);stroke-width:1}"
".k-header{fill:var(--header)}.k-lp{fill:var(--lp)}"
".k-lp-dead{fill:url(#p-lp-dead)}.k-lp-redirect{fill:url(#p-redirect)}"
".k-lp-unused{fill:var(--lp-unused)}.k-alive{fill:var(--alive)}"
".k-dead{fill:url(#p-dead)}.k-locked{fill:url(#p-locked)}"
".k-open{fill:url(#p-open)}.k-unknown{fill:url(#p-unknown)}"
".k-free{fill:var(--free)}.k-lost{fill:url(#p-lost)}"
".k-special{fill:var(--special)}.k-data{fill:var(--data)}"
".k-posting{fill:var(--posting)}.k-pivot{fill:var(--pivot)}"
".k-broken{fill:url(#p-broken)}.k-damage{fill:var(--damage)}"
".k-change{fill:var(--change);stroke:var(--ink);"
"stroke-width:.7;stroke-linejoin:round;pointer-events:none}"
".k-differ{fill:var(--damage);fill-opacity:.55;stroke:var(--damage);"
"stroke-width:1.6;stroke-linejoin:round}"
".edge{stroke:var(--page);stroke-width:.8;stroke-linejoin:round}"
"path[class*=edge]:hover{fill-opacity:.7;stroke:var(--ink)}"
".h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}"
".h3{fill:var(--h3)}.h4{fill:var(--h4)}.h5{fill:var(--h5)}"
".h6{fill:var(--h6)}.h7{fill:var(--h7)}.h8{fill:var(--h8)}\n";

/*
 * The patterns of the style sheet, in a drawing that is not seen.  A drawing
 * that is not displayed at all could not be referred to.
 */
static const char patterns[] =
"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"0\" height=\"0\" "
"style=\"position:absolute\" aria-hidden=\"true\"><defs>\n"
#define PATTERN(name, background, line, d) \
"<pattern id=\"p-" name "\" width=\"6\" height=\"6\" " \
"patternUnits=\"userSpaceOnUse\">" \
"<rect width=\"6\" height=\"6\" style=\"fill:var(--" background ")\"/>" \
"<path d=\"" d "\" style=\"fill:none;stroke:var(--" line ");" \
"stroke-width:1\"/></pattern>\n"
PATTERN("dead", "dead", "soft", "M-1 1L1-1M0 6L6 0M5 7L7 5")
PATTERN("lp-dead", "lp-dead", "soft", "M-1 1L1-1M0 6L6 0M5 7L7 5")
PATTERN("redirect", "lp-redirect", "page", "M0 1.5H6M0 4.5H6")
PATTERN("locked", "locked", "ink", "M3 2V4M0 5V6")
PATTERN("open", "open", "soft", "M0 3H6")
PATTERN("unknown", "unknown", "soft", "M3 0V6")
PATTERN("lost", "free", "rule", "M0 0L6 6M-1 5L1 7M5-1L7 1")
PATTERN("broken", "page", "damage", "M0 0L6 6M0 6L6 0")
#undef PATTERN
"</defs></svg>\n";

void
walredo_html_begin(StringInfo out, const char *title)
{
	appendStringInfoString(out,
						   "<!DOCTYPE html>\n"
						   "<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n"
						   "<head>\n"
						   "<meta charset=\"us-ascii\"/>\n"
						   "<meta http-equiv=\"Content-Security-Policy\" "
						   "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
						   "<meta name=\"referrer\" content=\"no-referrer\"/>\n"
						   "<meta name=\"viewport\" content=\"width=device-width\"/>\n");
	walredo_html_element(out, "title", NULL, "%s", title);
	appendStringInfo(out, "<style>%s</style>\n</head>\n<body>\n%s<main>\n",
					 style_sheet, patterns);
	walredo_html_element(out, "h1", NULL, "%s", title);
}

void
walredo_html_end(StringInfo out)
{
	appendStringInfoString(out, "</main>\n</body>\n</html>\n");
}

/* ----------------------------------------
 * Text
 * ----------------------------------------
 */

/*
 * The Unicode code point of a character of the database's encoding, which has
 * been verified, or -1 if it has none.
 */
static int64
code_point(const char *character, int length)
{
	int			encoding = GetDatabaseEncoding();
	unsigned char utf8[MAX_CONVERSION_GROWTH * MAX_MULTIBYTE_CHAR_LEN + 1];
	unsigned char *source = (unsigned char *) unconstify(char *, character);
	Oid			proc;

	if (length == 1 && !IS_HIGHBIT_SET(*character))
		return (unsigned char) *character;
	if (encoding == PG_UTF8)
		return utf8_to_unicode(source);
	if (encoding == PG_SQL_ASCII)
		return -1;
	proc = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(proc) ||
		pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8,
									  source, length, utf8, sizeof(utf8),
									  true) != length)
		return -1;
	return utf8_to_unicode(utf8);
}

/*
 * Can a code point be shown as it is?  Not the characters that XML forbids, and
 * not those that set the direction of text, because the text after them would
 * appear in another order than it is in.
 */
static bool
can_be_shown(int64 code)
{
	if (code < 0x20)
		return code == '\t' || code == '\n';
	return !((code >= 0x7F && code <= 0x9F) ||
			 code == 0x61C || code == 0x200E || code == 0x200F ||
			 (code >= 0x2028 && code <= 0x202E) ||
			 (code >= 0x2066 && code <= 0x2069) ||
			 (code >= 0xD800 && code <= 0xDFFF) ||
			 (code >= 0xFDD0 && code <= 0xFDEF) ||
			 (code & 0xFFFE) == 0xFFFE || code > 0x10FFFF);
}

void
walredo_html_bytes(StringInfo out, const char *bytes, Size length)
{
	Size		i = 0;

	while (i < length)
	{
		const char *character = bytes + i;
		int			size;
		int64		code;

		/* A byte of 0 is no character in any encoding. */
		size = *character == '\0' ? -1 :
			pg_encoding_verifymbchar(GetDatabaseEncoding(), character,
									 Min(length - i, MAX_MULTIBYTE_CHAR_LEN));
		if (size <= 0 || size > length - i)
		{
			appendStringInfo(out, "\\x%02x", (unsigned char) *character);
			i++;
			continue;
		}
		i += size;
		code = code_point(character, size);
		if (code < 0)
		{
			for (int j = 0; j < size; j++)
				appendStringInfo(out, "\\x%02x", (unsigned char) character[j]);
		}
		else if (!can_be_shown(code))
			appendStringInfo(out, "\\x%02x", (unsigned int) code);
		else if (code > 0x7F || strchr("&<>\"'", (int) code) != NULL)
			appendStringInfo(out, "&#%u;", (unsigned int) code);
		else
			appendStringInfoChar(out, (char) code);
	}
}

void
walredo_html_text(StringInfo out, const char *text)
{
	walredo_html_bytes(out, text, strlen(text));
}

/* Appends what a format makes, escaped. */
static void append_format(StringInfo out, const char *format, va_list args)
			pg_attribute_printf(2, 0);

static void
append_format(StringInfo out, const char *format, va_list args)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	walredo_html_bytes(out, text.data, text.len);
	pfree(text.data);
}

void
walredo_html_format(StringInfo out, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	append_format(out, format, args);
	va_end(args);
}

/* Opens an element; class can be NULL. */
static void
open_element(StringInfo out, const char *name, const char *class)
{
	appendStringInfo(out, "<%s", name);
	if (class != NULL)
		appendStringInfo(out, " class=\"%s\"", class);
	appendStringInfoChar(out, '>');
}

void
walredo_html_element(StringInfo out, const char *name, const char *class,
					 const char *format,...)
{
	va_list		args;

	open_element(out, name, class);
	va_start(args, format);
	append_format(out, format, args);
	va_end(args);
	appendStringInfo(out, "</%s>\n", name);
}

void
walredo_html_note(StringInfo out, const char *class, const char *sort,
				  const char *format,...)
{
	va_list		args;

	appendStringInfo(out, "<p class=\"note%s%s\">", class ? " " : "",
					 class ? class : "");
	walredo_html_element(out, "b", NULL, "%s", sort);
	va_start(args, format);
	append_format(out, format, args);
	va_end(args);
	appendStringInfoString(out, "</p>\n");
}

/* ----------------------------------------
 * Tables and legends
 * ----------------------------------------
 */

void
walredo_html_table_begin(StringInfo out, WalredoHtmlTable *table,
						 const char *caption, const char *const *columns,
						 int ncolumns)
{
	table->columns = columns;
	table->ncolumns = ncolumns;
	appendStringInfoString(out, "<div class=\"scroll\"><table>\n");
	walredo_html_element(out, "caption", NULL, "%s", caption);
	appendStringInfoString(out, "<thead><tr>");
	for (int i = 0; i < ncolumns; i++)
	{
		bool		is_number = columns[i][0] == '#';
		bool		is_whole = columns[i][0] == '=';

		appendStringInfo(out, "<th scope=\"col\"%s>",
						 is_number ? " class=\"num\"" : "");
		walredo_html_text(out, columns[i] + (is_number || is_whole));
		appendStringInfoString(out, "</th>");
	}
	appendStringInfoString(out, "</tr></thead>\n<tbody>\n");
}

void
walredo_html_table_row(StringInfo out, const WalredoHtmlTable *table,
					   const char *class, const char *const *cells)
{
	walredo_html_table_target(out, table, class, NULL, cells);
}

void
walredo_html_table_target(StringInfo out, const WalredoHtmlTable *table,
						  const char *class, const char *id,
						  const char *const *cells)
{
	appendStringInfoString(out, "<tr");
	if (class != NULL)
		appendStringInfo(out, " class=\"%s\"", class);
	if (id != NULL)
		appendStringInfo(out, " id=\"%s\"", id);
	appendStringInfoChar(out, '>');
	for (int i = 0; i < table->ncolumns; i++)
	{
		appendStringInfo(out, "<%s%s>",
						 i == 0 ? "th scope=\"row\"" : "td",
						 table->columns[i][0] == '#' ? " class=\"num\"" :
						 table->columns[i][0] == '=' ? " class=\"whole\"" : "");
		if (cells[i] != NULL)
			walredo_html_text(out, cells[i]);
		appendStringInfoString(out, i == 0 ? "</th>" : "</td>");
	}
	appendStringInfoString(out, "</tr>\n");
}

void
walredo_html_table_end(StringInfo out)
{
	appendStringInfoString(out, "</tbody></table></div>\n");
}

void
walredo_html_legend(StringInfo out, const WalredoHtmlKey *keys, int nkeys)
{
	appendStringInfoString(out, "<ul class=\"legend\">\n");
	for (int i = 0; i < nkeys; i++)
	{
		appendStringInfo(out,
						 "<li><svg xmlns=\"http://www.w3.org/2000/svg\" "
						 "width=\"24\" height=\"16\" aria-hidden=\"true\">"
						 "<rect class=\"%s\" x=\"1\" y=\"1\" width=\"22\" "
						 "height=\"14\"/><rect class=\"k-frame\" x=\".5\" "
						 "y=\".5\" width=\"23\" height=\"15\"/>",
						 keys[i].class);
		if (keys[i].letter != NULL)
			walredo_svg_text(out, "on mid", 12, 12, keys[i].letter);
		appendStringInfoString(out, "</svg>");
		walredo_html_element(out, "span", NULL, "%s", keys[i].label);
		appendStringInfoString(out, "</li>\n");
	}
	appendStringInfoString(out, "</ul>\n");
}

/* ----------------------------------------
 * Drawings
 * ----------------------------------------
 */

/* Appends a coordinate, with at most two digits after the point. */
static void
append_number(StringInfo out, double number)
{
	int64		hundredths = (int64) rint(number * 100);
	uint64		magnitude = hundredths < 0 ? -hundredths : hundredths;

	if (hundredths < 0)
		appendStringInfoChar(out, '-');
	appendStringInfo(out, UINT64_FORMAT, magnitude / 100);
	if (magnitude % 100 != 0)
	{
		appendStringInfo(out, ".%02d", (int) (magnitude % 100));
		if (magnitude % 10 == 0)
			out->data[--out->len] = '\0';
	}
}

/* Appends an attribute that is a coordinate. */
static void
append_attribute(StringInfo out, const char *name, double number)
{
	appendStringInfo(out, " %s=\"", name);
	append_number(out, number);
	appendStringInfoChar(out, '"');
}

/* Ends the start tag of a shape, and the shape. */
static void
end_shape(StringInfo out, const char *name, const char *title)
{
	if (title == NULL)
		appendStringInfoString(out, "/>\n");
	else
	{
		appendStringInfoString(out, "><title>");
		walredo_html_text(out, title);
		appendStringInfo(out, "</title></%s>\n", name);
	}
}

void
walredo_svg_begin(StringInfo out, const char *id, int width, int height,
				  const char *title, const char *description)
{
	appendStringInfo(out,
					 "<svg xmlns=\"http://www.w3.org/2000/svg\" "
					 "class=\"drawing\" id=\"%s\" width=\"%d\" height=\"%d\" "
					 "viewBox=\"0 0 %d %d\" role=\"img\" "
					 "aria-labelledby=\"%s-t %s-d\">\n"
					 "<title id=\"%s-t\">",
					 id, width, height, width, height, id, id, id);
	walredo_html_text(out, title);
	appendStringInfo(out, "</title><desc id=\"%s-d\">", id);
	walredo_html_text(out, description);
	appendStringInfoString(out, "</desc>\n");
}

void
walredo_svg_end(StringInfo out)
{
	appendStringInfoString(out, "</svg>\n");
}

void
walredo_svg_rect(StringInfo out, const char *class, double x, double y,
				 double width, double height, const char *title)
{
	appendStringInfo(out, "<rect class=\"%s\"", class);
	append_attribute(out, "x", x);
	append_attribute(out, "y", y);
	append_attribute(out, "width", width);
	append_attribute(out, "height", height);
	end_shape(out, "rect", title);
}

void
walredo_svg_text(StringInfo out, const char *class, double x, double y,
				 const char *text)
{
	appendStringInfo(out, "<text class=\"%s\"", class);
	append_attribute(out, "x", x);
	append_attribute(out, "y", y);
	appendStringInfoChar(out, '>');
	walredo_html_text(out, text);
	appendStringInfoString(out, "</text>\n");
}

void
walredo_svg_link_begin(StringInfo out, const char *id)
{
	appendStringInfo(out, "<a href=\"#%s\">", id);
}

void
walredo_svg_link_end(StringInfo out)
{
	appendStringInfoString(out, "</a>\n");
}

void
walredo_svg_path_begin(StringInfo out, const char *class)
{
	appendStringInfo(out, "<path class=\"%s\" d=\"", class);
}

/* Appends a command of a path, and its coordinate. */
static void
append_command(StringInfo out, char command, double number)
{
	appendStringInfoChar(out, command);
	append_number(out, number);
}

/*
 * The outline goes once around: along the top of the first row from the first
 * cell, down the right side, along the bottom of the last row, and back up the
 * left side, with a step where the first row begins, or the last one ends, in
 * the middle.  If the first and the last row have no column in common, it would
 * touch itself, and has two parts.
 */
void
walredo_svg_cells(StringInfo out, const WalredoSvgGrid *grid, int64 first,
				  int64 end)
{
	int64		first_row = first / grid->columns;
	int64		last_row = (end - 1) / grid->columns;
	double		left = grid->x;
	double		right = grid->x + grid->columns * grid->cell_width;
	int			first_column = first % grid->columns;
	int			end_column = (end - 1) % grid->columns + 1;
	double		x0 = grid->x + first_column * grid->cell_width;
	double		x1 = grid->x + end_column * grid->cell_width;
	double		y0 = grid->y + first_row * grid->cell_height;
	double		y1 = grid->y + (last_row + 1) * grid->cell_height;

	if (first >= end)
		return;
	if (last_row == first_row + 1 && x1 <= x0)
	{
		int64		middle = last_row * grid->columns;

		walredo_svg_cells(out, grid, first, middle);
		walredo_svg_cells(out, grid, middle, end);
		return;
	}
	append_command(out, 'M', x0);
	append_command(out, ' ', y0);
	if (first_row == last_row)
	{
		append_command(out, 'H', x1);
		append_command(out, 'V', y1);
		append_command(out, 'H', x0);
	}
	else
	{
		append_command(out, 'H', right);
		append_command(out, 'V', y1 - grid->cell_height);
		append_command(out, 'H', x1);
		append_command(out, 'V', y1);
		append_command(out, 'H', left);
		append_command(out, 'V', y0 + grid->cell_height);
		append_command(out, 'H', x0);
	}
	appendStringInfoChar(out, 'Z');
}

void
walredo_svg_path_end(StringInfo out, const char *title)
{
	appendStringInfoChar(out, '"');
	end_shape(out, "path", title);
}
