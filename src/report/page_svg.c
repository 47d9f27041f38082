/*-------------------------------------------------------------------------
 *
 * page_svg.c
 *	  Drawing a page byte for byte.
 *
 * A page is a grid, read like text: one cell for each byte, 128 in a row.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/page_svg.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "page/diff.h"
#include "report/page_svg.h"

/* Bytes in a row of a drawing. */
#define COLUMNS				128

/* The large drawing: the size of a cell, and the space for the offsets. */
#define CELL_WIDTH			7.5
#define CELL_HEIGHT			10
#define LEFT				44
#define TOP					18
#define CHARACTER_WIDTH		5.2

/* The size of a cell in a picture. */
#define PICTURE_WIDTH		1.75
#define PICTURE_HEIGHT		1.75

/* Changes that are not further apart are marked together in a picture. */
#define JOINED_GAP			8

/* How much of a tuple's data is shown. */
#define SHOWN_DATA			64

WalredoByteRuns *
walredo_differences(const char *a, const char *b, int first, int size)
{
	WalredoByteRuns *result = palloc0(sizeof(WalredoByteRuns));
	int			max_runs = 16;
	Size		start;
	Size		end = 0;

	result->runs = palloc(max_runs * sizeof(WalredoByteRun));
	while (first < size &&
		   walredo_next_difference(a + first, b + first, size - first,
								   &start, &end))
	{
		if (result->nruns == max_runs)
		{
			max_runs *= 2;
			result->runs = repalloc(result->runs,
									max_runs * sizeof(WalredoByteRun));
		}
		result->runs[result->nruns].start = first + start;
		result->runs[result->nruns].end = first + end;
		result->nruns++;
		result->nbytes += end - start;
	}
	return result;
}

char *
walredo_bytes_as_text(const char *bytes, int length, int max)
{
	StringInfoData buf;
	int			i = 0;

	initStringInfo(&buf);
	while (i < Min(length, max))
	{
		int			size = bytes[i] == '\0' ? -1 :
			pg_encoding_verifymbchar(GetDatabaseEncoding(), bytes + i,
									 length - i);

		if (size > length - i || size <= 0 ||
			(size == 1 && ((unsigned char) bytes[i] < 0x20 ||
						   (unsigned char) bytes[i] >= 0x7F)))
		{
			appendStringInfoChar(&buf, '.');
			i++;
			continue;
		}
		appendBinaryStringInfo(&buf, bytes + i, size);
		i += size;
	}
	if (i < length)
		appendStringInfo(&buf, " and %d more bytes", length - i);
	return buf.data;
}

char *
walredo_part_label(const WalredoPageParts *parts, const WalredoPagePart *part,
				   const char *page)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (part->name != NULL)
		appendStringInfo(&buf, "%s: ", part->name);
	appendStringInfoString(&buf, walredo_byte_keys[part->class].label);
	if (part->item == 0 && part->cells[0] != NULL)
		appendStringInfo(&buf, ": %s", part->cells[0]);
	for (int i = 0; i < WALREDO_PART_CELLS && part->item != 0; i++)
	{
		if (part->cells[i] != NULL && part->cells[i][0] != '\0')
			appendStringInfo(&buf, "\n%s %s", parts->cell_names[i],
							 part->cells[i]);
	}
	if (part->length > 0)
		appendStringInfo(&buf, "\nbytes %d to %d", part->offset,
						 part->offset + part->length - 1);
	if (part->data != 0)
	{
		char	   *text;

		text = walredo_bytes_as_text(page + part->data,
									 part->offset + part->length - part->data,
									 SHOWN_DATA);
		appendStringInfo(&buf, "\n%s", text);
		pfree(text);
	}
	return buf.data;
}

/*
 * Writes the number and the letter of a tuple into its bytes, where it has the
 * longest row of them.
 */
static void
draw_number(StringInfo out, const WalredoSvgGrid *grid,
			const WalredoPagePart *part, int begin, int end)
{
	const char *letter = walredo_byte_keys[part->class].letter;
	int			row_end = (begin / COLUMNS + 1) * COLUMNS;
	char		text[32];
	double		width;

	if (letter == NULL || part->item == 0)
		return;
	if (end > row_end && (end - row_end) > (row_end - begin))
		begin = row_end;
	width = (Min(end, (begin / COLUMNS + 1) * COLUMNS) - begin) * CELL_WIDTH;
	snprintf(text, sizeof(text), "%d %s", part->item, letter);
	if (width < (strlen(text) + 1) * CHARACTER_WIDTH)
		snprintf(text, sizeof(text), "%s", letter);
	if (width < (strlen(text) + 1) * CHARACTER_WIDTH)
		return;
	walredo_svg_text(out, "on small",
					 grid->x + (begin % COLUMNS) * CELL_WIDTH + 3,
					 grid->y + (begin / COLUMNS) * CELL_HEIGHT + 8, text);
}

/* Draws all runs of bytes that are one part, each with its label. */
static void
draw_parts(StringInfo out, const WalredoSvgGrid *grid,
		   const WalredoPageParts *parts, const char *page)
{
	int			begin = 0;

	while (begin < parts->size)
	{
		const WalredoPagePart *part = WalredoPartOfByte(parts, begin);
		char		class[64];
		char	   *label;
		int			end = begin;

		while (end < parts->size && parts->map[end] == parts->map[begin])
			end++;
		snprintf(class, sizeof(class), "%s edge",
				 walredo_byte_keys[part->class].class);
		if (part->length > 0)
			label = walredo_part_label(parts, part, page);
		else
			label = psprintf("%s%s%s\nbytes %d to %d",
							 part->name != NULL ? part->name : "",
							 part->name != NULL ? ": " : "",
							 walredo_byte_keys[part->class].label,
							 begin, end - 1);
		walredo_svg_path_begin(out, class);
		walredo_svg_cells(out, grid, begin, end);
		walredo_svg_path_end(out, label);
		pfree(label);
		draw_number(out, grid, part, begin, end);
		begin = end;
	}
}

/* The offsets of rows, and of columns. */
static void
draw_offsets(StringInfo out, const WalredoSvgGrid *grid, int size)
{
	char		text[32];

	for (int column = 0; column < COLUMNS; column += 16)
	{
		snprintf(text, sizeof(text), column == 0 ? "%d" : "+%d", column);
		walredo_svg_text(out, "soft small",
						 grid->x + column * grid->cell_width, TOP - 6, text);
	}
	for (int offset = 0; offset < size; offset += 4 * COLUMNS)
	{
		snprintf(text, sizeof(text), "%d", offset);
		walredo_svg_text(out, "soft small end", LEFT - 8,
						 grid->y + (offset / COLUMNS) * grid->cell_height + 8,
						 text);
	}
}

/* What a page has, in a sentence for those who do not see the drawing. */
static char *
describe_page(const WalredoPageParts *parts)
{
	int			bytes[WALREDO_BYTES_NCLASSES] = {0};
	StringInfoData buf;

	for (int i = 0; i < parts->size; i++)
		bytes[WalredoPartOfByte(parts, i)->class]++;
	initStringInfo(&buf);
	for (int i = 0; i < WALREDO_BYTES_NCLASSES; i++)
	{
		if (bytes[i] > 0)
			appendStringInfo(&buf, "%s%s: %d bytes", buf.len > 0 ? "; " : "",
							 walredo_byte_keys[i].label, bytes[i]);
	}
	appendStringInfoChar(&buf, '.');
	return buf.data;
}

void
walredo_draw_page(StringInfo out, const char *id, const WalredoPageParts *parts,
				  const char *page, const WalredoByteRuns *differences,
				  const char *title)
{
	WalredoSvgGrid grid = {LEFT, TOP, CELL_WIDTH, CELL_HEIGHT, COLUMNS};
	int			rows = (parts->size + COLUMNS - 1) / COLUMNS;
	char	   *description = describe_page(parts);

	walredo_svg_begin(out, id, LEFT + COLUMNS * CELL_WIDTH + 2,
					  TOP + rows * CELL_HEIGHT + 2, title, description);
	draw_offsets(out, &grid, parts->size);
	draw_parts(out, &grid, parts, page);
	for (int i = 0; differences != NULL && i < differences->nruns; i++)
	{
		const WalredoByteRun *run = &differences->runs[i];
		const WalredoPagePart *part = WalredoPartOfByte(parts, run->start);
		char	   *label = walredo_part_label(parts, part, page);
		char	   *text = psprintf("DAMAGE: bytes %d to %d are not what WAL says\n%s",
									run->start, run->end - 1, label);

		walredo_svg_path_begin(out, "k-differ");
		walredo_svg_cells(out, &grid, run->start, run->end);
		walredo_svg_path_end(out, text);
		pfree(text);
		pfree(label);
	}
	walredo_svg_rect(out, "k-frame", LEFT, TOP, COLUMNS * CELL_WIDTH,
					 rows * CELL_HEIGHT, NULL);
	walredo_svg_end(out);
	pfree(description);
}

void
walredo_draw_picture(StringInfo out, const char *id,
					 const WalredoPageParts *parts,
					 const WalredoByteRuns *changes, const char *title)
{
	WalredoSvgGrid grid = {1, 1, PICTURE_WIDTH, PICTURE_HEIGHT, COLUMNS};
	int			rows = (parts->size + COLUMNS - 1) / COLUMNS;
	int			width = COLUMNS * PICTURE_WIDTH;
	int			height = rows * PICTURE_HEIGHT;
	char	   *description = describe_page(parts);

	walredo_svg_begin(out, id, width + 2, height + 2, title, description);
	for (int class = 0; class < WALREDO_BYTES_NCLASSES; class++)
	{
		bool		has_begun = false;

		for (int begin = 0, end; begin < parts->size; begin = end)
		{
			end = begin;
			while (end < parts->size &&
				   (WalredoPartOfByte(parts, end)->class == class) ==
				   (WalredoPartOfByte(parts, begin)->class == class))
				end++;
			if (WalredoPartOfByte(parts, begin)->class != class)
				continue;
			if (!has_begun)
				walredo_svg_path_begin(out, walredo_byte_keys[class].class);
			has_begun = true;
			walredo_svg_cells(out, &grid, begin, end);
		}
		if (has_begun)
			walredo_svg_path_end(out, NULL);
	}
	if (changes != NULL && changes->nruns > 0)
	{
		walredo_svg_path_begin(out, "k-change");
		for (int i = 0, next; i < changes->nruns; i = next)
		{
			next = i + 1;
			while (next < changes->nruns && changes->runs[next].start -
				   changes->runs[next - 1].end <= JOINED_GAP)
				next++;
			walredo_svg_cells(out, &grid, changes->runs[i].start,
							  changes->runs[next - 1].end);
		}
		walredo_svg_path_end(out, NULL);
	}
	walredo_svg_rect(out, "k-frame", 0.5, 0.5, width + 1, height + 1, NULL);
	walredo_svg_end(out);
	pfree(description);
}

void
walredo_note_classes(const WalredoPageParts *parts, bool *used)
{
	for (int i = 0; i < parts->size; i++)
		used[WalredoPartOfByte(parts, i)->class] = true;
}

void
walredo_draw_legend(StringInfo out, const bool *used, bool has_changes,
					bool has_damage)
{
	static const WalredoHtmlKey changed = {"k-change", NULL,
	"changed since the picture before"};
	static const WalredoHtmlKey damaged = {"k-differ", NULL,
	"not what WAL says"};
	WalredoHtmlKey keys[WALREDO_BYTES_NCLASSES + 2];
	int			nkeys = 0;

	for (int i = 0; i < WALREDO_BYTES_NCLASSES; i++)
	{
		if (used[i])
			keys[nkeys++] = walredo_byte_keys[i];
	}
	if (has_changes)
		keys[nkeys++] = changed;
	if (has_damage)
		keys[nkeys++] = damaged;
	walredo_html_legend(out, keys, nkeys);
}
