/*-------------------------------------------------------------------------
 *
 * relation_report.c
 *	  Reports about a relation: maps of its blocks.
 *
 * There are three maps, one below the other, which have the same cells: the
 * status of blocks, when they were changed last, and the WAL that is about
 * them.  A cell says on hover what it stands for, and if the block that makes
 * it what it is has a row in a table, it is a link to that row.
 *
 * Colours of the last two maps are of different lightness, so that they can be
 * told apart without colour.  Cells of the first one have letters.
 *
 * The scales of these maps are geometric.  On a linear one, the block with the
 * most WAL, and the oldest change, would make all others look alike.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/relation_report.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "report/html.h"
#include "report/relation_data.h"
#include "report/relation_report.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The maps.  A power of two in a row makes block numbers easier to count. */
#define MAX_CELLS		2048
#define MAP_COLUMNS		64
#define CELL_PITCH		15
#define CELL_SIZE		14
#define MAP_LEFT		72		/* room for the numbers of rows */
#define MAP_WIDTH		(MAP_LEFT + MAP_COLUMNS * CELL_PITCH)

/* How many of the blocks with the most WAL have a row in a table. */
#define MAX_MOST_WRITTEN	20

/* The steps of a scale, and their classes in the style sheet. */
#define NUM_STEPS	5

static const char *const step_classes[NUM_STEPS] = {
	"h1", "h3", "h5", "h6", "h8"
};

/* What a status looks like.  Of those in one cell, the gravest is shown. */
typedef struct StatusLook
{
	int			gravity;
	const char *class;
	const char *letter;			/* NULL: none */
	const char *name;
} StatusLook;

static const StatusLook status_looks[WALREDO_NUM_BLOCK_STATUSES] = {
	[WALREDO_VERIFY_OK] = {0, "k-alive", NULL, "ok"},
	[WALREDO_VERIFY_UNLOGGED] = {1, "k-open", "U", "unlogged"},
	[WALREDO_BLOCK_NOT_COMPARED] = {2, "k-lost", "-", "not compared"},
	[WALREDO_VERIFY_UNVERIFIABLE] = {3, "k-unknown", "?", "unverifiable"},
	[WALREDO_VERIFY_MISMATCH] = {4, "k-damage", "D", "damaged"}
};

/* Statuses in the order of the legend. */
static const int status_order[WALREDO_NUM_BLOCK_STATUSES] = {
	WALREDO_VERIFY_OK,
	WALREDO_VERIFY_MISMATCH,
	WALREDO_VERIFY_UNVERIFIABLE,
	WALREDO_VERIFY_UNLOGGED,
	WALREDO_BLOCK_NOT_COMPARED
};

/* A cell of the maps, and the blocks that make it look as it does. */
typedef struct Cell
{
	BlockNumber first;
	BlockNumber last;
	uint32		num_of_status[WALREDO_NUM_BLOCK_STATUSES];
	int			status;
	BlockNumber gravest;		/* the first block with that status */
	XLogRecPtr	newest_lsn;
	BlockNumber newest;
	uint64		wal_bytes;
	uint64		num_records;
	BlockNumber most_written;
} Cell;

typedef struct Report
{
	StringInfo	out;
	const WalredoRelationData *data;
	BlockNumber cell_blocks;	/* in a cell */
	int			num_cells;
	Cell	   *cells;

	/* Where the steps of the scales begin, the lowest first. */
	uint64		lsn_steps[NUM_STEPS];
	uint64		byte_steps[NUM_STEPS];

	/* The blocks with the most WAL, the first one first. */
	int			num_most_written;
	BlockNumber most_written[MAX_MOST_WRITTEN];

	/* Blocks that have a row with an id in a table. */
	int			num_listed;
	BlockNumber listed[2 * WALREDO_MAX_NOTES + MAX_MOST_WRITTEN];
} Report;

/* What a cell looks like in a map. */
typedef struct CellLook
{
	const char *class;
	const char *letter;			/* NULL: none */
	const char *title;
	BlockNumber blkno;			/* that makes it what it is */
} CellLook;

/* Finds that out.  What is allocated lives until the cell has been drawn. */
typedef void (*LookAtCell) (const Report *report, const Cell *cell,
							CellLook *look);

/* ----------------------------------------
 * Cells
 * ----------------------------------------
 */

static void
make_cells(Report *report)
{
	const WalredoRelationData *data = report->data;

	report->cell_blocks = 1;
	while (data->num_blocks > (uint64) report->cell_blocks * MAX_CELLS)
		report->cell_blocks *= 2;
	report->num_cells = (int)
		(((uint64) data->num_blocks + report->cell_blocks - 1) /
		 report->cell_blocks);
	report->cells = palloc0(Max(report->num_cells, 1) * sizeof(Cell));

	for (BlockNumber blkno = 0; blkno < data->num_blocks; blkno++)
	{
		const WalredoBlockData *block = &data->blocks[blkno];
		Cell	   *cell = &report->cells[blkno / report->cell_blocks];
		bool		is_first = (blkno % report->cell_blocks == 0);

		if (is_first)
			cell->first = blkno;
		cell->last = blkno;
		cell->num_of_status[block->status]++;
		if (is_first || status_looks[block->status].gravity >
			status_looks[cell->status].gravity)
		{
			cell->status = block->status;
			cell->gravest = blkno;
		}
		if (is_first || block->page_lsn > cell->newest_lsn)
		{
			cell->newest_lsn = block->page_lsn;
			cell->newest = blkno;
		}
		if (is_first ||
			block->wal_bytes > data->blocks[cell->most_written].wal_bytes)
			cell->most_written = blkno;
		cell->wal_bytes += block->wal_bytes;
		cell->num_records += block->num_records;
	}
}

/*
 * Makes the scales.  The last steps of that of LSNs are the last quarter of
 * WAL, and a quarter of that, and so on.  The steps of that of bytes divide
 * what is between the cells with the least and the most, if they have any.
 */
static void
make_scales(Report *report)
{
	const WalredoRelationData *data = report->data;
	uint64		span = data->end_lsn - data->start_lsn;
	uint64		least = PG_UINT64_MAX;
	uint64		most = 1;

	for (int i = 0; i < report->num_cells; i++)
	{
		uint64		bytes = report->cells[i].wal_bytes;

		if (bytes > 0)
			least = Min(least, bytes);
		most = Max(most, bytes);
	}
	least = Min(least, most);
	for (int step = 0; step < NUM_STEPS; step++)
	{
		report->lsn_steps[step] = step == 0 ? data->start_lsn :
			data->end_lsn - (span >> (2 * step));
		report->byte_steps[step] = step == 0 ? least :
			(uint64) (least * pow((double) most / least,
								  (double) step / NUM_STEPS));
	}
}

/* Finds the blocks with the most WAL. */
static void
find_most_written(Report *report)
{
	const WalredoBlockData *blocks = report->data->blocks;
	BlockNumber *most = report->most_written;
	int			num = 0;

	for (BlockNumber blkno = 0; blkno < report->data->num_blocks; blkno++)
	{
		uint64		bytes = blocks[blkno].wal_bytes;
		int			place;

		if (bytes == 0 || (num == MAX_MOST_WRITTEN &&
						   bytes <= blocks[most[num - 1]].wal_bytes))
			continue;
		if (num < MAX_MOST_WRITTEN)
			num++;
		for (place = num - 1;
			 place > 0 && blocks[most[place - 1]].wal_bytes < bytes; place--)
			most[place] = most[place - 1];
		most[place] = blkno;
	}
	report->num_most_written = num;
}

static bool
is_listed(const Report *report, BlockNumber blkno)
{
	for (int i = 0; i < report->num_listed; i++)
	{
		if (report->listed[i] == blkno)
			return true;
	}
	return false;
}

/* Makes a block one that has a row.  False if it has one already. */
static bool
list_block(Report *report, BlockNumber blkno)
{
	if (is_listed(report, blkno))
		return false;
	report->listed[report->num_listed++] = blkno;
	return true;
}

/* Lists all blocks for which there will be rows. */
static void
list_blocks(Report *report)
{
	const WalredoRelationData *data = report->data;

	for (int i = 0; i < data->damaged.num; i++)
		list_block(report, data->damaged.notes[i].blkno);
	for (int i = 0; i < data->unverifiable.num; i++)
		list_block(report, data->unverifiable.notes[i].blkno);
	for (int i = 0; i < report->num_most_written; i++)
		list_block(report, report->most_written[i]);
}

/* ----------------------------------------
 * Words
 * ----------------------------------------
 */

/* All strings that these functions return are palloc'd. */

static char *
number_text(uint64 number)
{
	return psprintf("%llu", (unsigned long long) number);
}

/* A number of things, of which name is one. */
static char *
count_text(uint64 number, const char *name)
{
	return psprintf("%llu %s%s", (unsigned long long) number, name,
					number == 1 ? "" : "s");
}

/* A number of bytes as pg_size_pretty() shows it. */
static char *
size_text(uint64 bytes)
{
	Datum		size = Int64GetDatum((int64) Min(bytes, PG_INT64_MAX));

	return TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, size));
}

static char *
lsn_text(XLogRecPtr lsn)
{
	return psprintf("%X/%X", LSN_FORMAT_ARGS(lsn));
}

/* A time to the second. */
static char *
time_text(TimestampTz at)
{
	return pstrdup(timestamptz_to_str(at - at % USECS_PER_SEC));
}

/* When a page that has this LSN was changed last. */
static char *
change_text(const WalredoRelationData *data, XLogRecPtr lsn)
{
	TimestampTz at;

	if (lsn == InvalidXLogRecPtr)
		return pstrdup("unknown");
	if (walredo_time_of_lsn(data, lsn, &at))
		return time_text(at);
	if (lsn < data->start_lsn)
		return psprintf("before %X/%X", LSN_FORMAT_ARGS(data->start_lsn));
	if (lsn > data->end_lsn)
		return psprintf("after %X/%X", LSN_FORMAT_ARGS(data->end_lsn));
	if (data->num_times == 0 ||
		walredo_has_break(&data->breaks, lsn, data->end_lsn))
		return pstrdup("unknown");
	return psprintf("after %s",
					time_text(data->times[data->num_times - 1].last_time));
}

/* The id of the row about a block. */
static char *
row_id(BlockNumber blkno)
{
	return psprintf("block-%u", blkno);
}

/* The blocks of a cell. */
static char *
cell_text(const Cell *cell)
{
	if (cell->first == cell->last)
		return psprintf("block %u", cell->first);
	return psprintf("blocks %u to %u", cell->first, cell->last);
}

/* ----------------------------------------
 * Maps
 * ----------------------------------------
 */

/* The class of a value: that of the last step that begins at or before it. */
static const char *
class_on_scale(const uint64 *steps, uint64 value)
{
	const char *class = "h0";

	for (int step = 0; step < NUM_STEPS; step++)
	{
		if (value >= steps[step])
			class = step_classes[step];
	}
	return class;
}

/* If values differ little, a step can begin where the one after it does. */
static bool
is_empty_step(const uint64 *steps, int step)
{
	return step < NUM_STEPS - 1 && steps[step] == steps[step + 1];
}

/* A LookAtCell for the map of statuses. */
static void
look_at_status(const Report *report, const Cell *cell, CellLook *look)
{
	const StatusLook *status_look = &status_looks[cell->status];
	StringInfoData title;
	const char *separator = "";

	look->class = status_look->class;
	look->letter = status_look->letter;
	look->blkno = cell->gravest;

	initStringInfo(&title);
	appendStringInfo(&title, "%s: ", cell_text(cell));
	if (cell->first == cell->last)
		appendStringInfoString(&title, status_look->name);
	else
	{
		for (int i = 0; i < WALREDO_NUM_BLOCK_STATUSES; i++)
		{
			int			status = status_order[i];

			if (cell->num_of_status[status] == 0)
				continue;
			appendStringInfo(&title, "%s%u %s", separator,
							 cell->num_of_status[status],
							 status_looks[status].name);
			separator = ", ";
		}
	}
	look->title = title.data;
}

/* A LookAtCell for the map of last changes. */
static void
look_at_change(const Report *report, const Cell *cell, CellLook *look)
{
	XLogRecPtr	lsn = cell->newest_lsn;

	look->blkno = cell->newest;
	if (lsn == InvalidXLogRecPtr)
	{
		look->class = "k-lost";
		look->letter = "-";
		look->title = psprintf("%s: no LSN", cell_text(cell));
		return;
	}
	look->class = class_on_scale(report->lsn_steps, lsn);
	look->title = psprintf("%s: %X/%X, %s", cell_text(cell),
						   LSN_FORMAT_ARGS(lsn),
						   change_text(report->data, lsn));
}

/* A LookAtCell for the map of WAL. */
static void
look_at_bytes(const Report *report, const Cell *cell, CellLook *look)
{
	look->blkno = cell->most_written;
	look->class = class_on_scale(report->byte_steps, cell->wal_bytes);
	look->title = psprintf("%s: %s in %s", cell_text(cell),
						   count_text(cell->wal_bytes, "byte"),
						   count_text(cell->num_records, "record"));
}

static void
draw_cell(const Report *report, const CellLook *look, double x, double y)
{
	StringInfo	out = report->out;
	bool		is_link = is_listed(report, look->blkno);

	if (is_link)
		walredo_svg_link_begin(out, row_id(look->blkno));
	walredo_svg_rect(out, look->class, x, y, CELL_SIZE, CELL_SIZE,
					 look->title);
	if (look->letter != NULL)
		walredo_svg_text(out, "on mid", x + CELL_SIZE / 2.0,
						 y + CELL_SIZE - 3, look->letter);
	if (is_link)
		walredo_svg_link_end(out);
}

/*
 * Writes a map of all cells.  of_several says what a cell shows if it stands
 * for several blocks.
 */
static void
write_map(const Report *report, const char *id, const char *title,
		  const char *of_several, LookAtCell look_at_cell)
{
	StringInfo	out = report->out;
	int			num_rows =
		(report->num_cells + MAP_COLUMNS - 1) / MAP_COLUMNS;
	MemoryContext cell_context = AllocSetContextCreate(CurrentMemoryContext,
													   "walredo cell",
													   ALLOCSET_DEFAULT_SIZES);
	char	   *caption;

	caption = report->cell_blocks == 1 ?
		psprintf("A cell is a block. A row is %d blocks.", MAP_COLUMNS) :
		psprintf("A cell is %u blocks, and shows %s. A row is %u blocks.",
				 report->cell_blocks, of_several,
				 report->cell_blocks * MAP_COLUMNS);
	appendStringInfoString(out, "<figure>\n");
	walredo_svg_begin(out, id, MAP_WIDTH, num_rows * CELL_PITCH, title,
					  caption);
	for (int i = 0; i < report->num_cells; i++)
	{
		const Cell *cell = &report->cells[i];
		double		x = MAP_LEFT + (i % MAP_COLUMNS) * CELL_PITCH;
		double		y = (i / MAP_COLUMNS) * CELL_PITCH;
		CellLook	look = {0};
		MemoryContext old_context = MemoryContextSwitchTo(cell_context);

		CHECK_FOR_INTERRUPTS();
		if (i % MAP_COLUMNS == 0)
			walredo_svg_text(out, "soft end", MAP_LEFT - 8,
							 y + CELL_SIZE - 3, number_text(cell->first));
		look_at_cell(report, cell, &look);
		draw_cell(report, &look, x, y);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(cell_context);
	}
	walredo_svg_end(out);
	walredo_html_element(out, "figcaption", NULL, "%s", caption);
	appendStringInfoString(out, "</figure>\n");
	MemoryContextDelete(cell_context);
}

static void
write_status_map(const Report *report)
{
	const WalredoRelationData *data = report->data;
	WalredoHtmlKey keys[WALREDO_NUM_BLOCK_STATUSES];
	int			num_keys = 0;

	walredo_html_element(report->out, "h2", NULL, "Status");
	for (int i = 0; i < WALREDO_NUM_BLOCK_STATUSES; i++)
	{
		int			status = status_order[i];
		const StatusLook *look = &status_looks[status];

		/* The first three are shown always: that there are none is news. */
		if (data->num_of_status[status] == 0 && i >= 3)
			continue;
		keys[num_keys].class = look->class;
		keys[num_keys].letter = look->letter;
		keys[num_keys].label =
			psprintf("%s: %s", look->name,
					 count_text(data->num_of_status[status], "block"));
		num_keys++;
	}
	walredo_html_legend(report->out, keys, num_keys);
	write_map(report, "map-status", "Status of each block",
			  "the gravest status in them", look_at_status);
}

/* Where an LSN of a scale is, with its time if there is one. */
static char *
step_text(const WalredoRelationData *data, XLogRecPtr lsn)
{
	TimestampTz at;

	if (walredo_time_of_lsn(data, lsn, &at))
		return psprintf("%X/%X (%s)", LSN_FORMAT_ARGS(lsn), time_text(at));
	return lsn_text(lsn);
}

static void
write_change_map(const Report *report)
{
	const WalredoRelationData *data = report->data;
	WalredoHtmlKey keys[NUM_STEPS + 2];
	int			num_keys = 0;

	walredo_html_element(report->out, "h2", NULL, "Last change");
	for (int step = NUM_STEPS - 1; step >= 0; step--)
	{
		if (is_empty_step(report->lsn_steps, step))
			continue;
		keys[num_keys].class = step_classes[step];
		keys[num_keys].letter = NULL;
		keys[num_keys].label =
			psprintf("since %s", step_text(data, report->lsn_steps[step]));
		num_keys++;
	}
	keys[num_keys].class = "h0";
	keys[num_keys].letter = NULL;
	keys[num_keys].label = psprintf("before %X/%X, where the WAL begins that was read",
									LSN_FORMAT_ARGS(data->start_lsn));
	num_keys++;
	keys[num_keys].class = "k-lost";
	keys[num_keys].letter = "-";
	keys[num_keys].label =
		"no LSN: empty, written without WAL, or not read";
	num_keys++;
	walredo_html_legend(report->out, keys, num_keys);
	write_map(report, "map-change", "Last change of each block",
			  "the newest change in them", look_at_change);
}

static void
write_bytes_map(const Report *report)
{
	const WalredoRelationData *data = report->data;
	WalredoHtmlKey keys[NUM_STEPS + 1];
	int			num_keys = 0;

	walredo_html_element(report->out, "h2", NULL, "WAL");
	walredo_html_element(report->out, "p", NULL,
						 "%s of WAL in %s, from %s to %s.",
						 size_text(data->wal_bytes),
						 count_text(data->num_records, "record"),
						 step_text(data, data->start_lsn),
						 step_text(data, data->end_lsn));
	for (int step = NUM_STEPS - 1; step >= 0; step--)
	{
		if (is_empty_step(report->byte_steps, step))
			continue;
		keys[num_keys].class = step_classes[step];
		keys[num_keys].letter = NULL;
		keys[num_keys].label =
			psprintf("from %s on", size_text(report->byte_steps[step]));
		num_keys++;
	}
	keys[num_keys].class = "h0";
	keys[num_keys].letter = NULL;
	keys[num_keys].label = "none";
	num_keys++;
	walredo_html_legend(report->out, keys, num_keys);
	write_map(report, "map-wal", "Bytes of WAL about each block",
			  "the sum for them", look_at_bytes);
}

/* ----------------------------------------
 * Tables
 * ----------------------------------------
 */

/* A row about a block.  Only the first row about it has its id. */
static void
write_block_row(Report *report, const WalredoHtmlTable *table,
				BlockNumber blkno, const char *detail)
{
	const WalredoRelationData *data = report->data;
	const WalredoBlockData *block = &data->blocks[blkno];
	const char *cells[] = {
		number_text(blkno),
		status_looks[block->status].name,
		block->page_lsn == InvalidXLogRecPtr ? NULL :
		lsn_text(block->page_lsn),
		change_text(data, block->page_lsn),
		number_text(block->wal_bytes),
		number_text(block->num_records),
		detail
	};

	walredo_html_table_target(report->out, table,
							  block->status == WALREDO_VERIFY_MISMATCH ?
							  "damage" : NULL,
							  list_block(report, blkno) ? row_id(blkno) : NULL,
							  cells);
}

/* Begins a table of blocks, with a column for details or without. */
static void
begin_blocks(StringInfo out, WalredoHtmlTable *table, const char *caption,
			 bool with_detail)
{
	static const char *const columns[] = {
		"#block", "=status", "=page LSN", "=last change", "#WAL bytes",
		"#records", "detail"
	};

	walredo_html_table_begin(out, table, caption, columns,
							 lengthof(columns) - !with_detail);
}

/* A table of the first blocks with some status. */
static void
write_notes(Report *report, const WalredoBlockNotes *notes, int status,
			const char *caption)
{
	uint64		num = report->data->num_of_status[status];
	WalredoHtmlTable table;

	if (notes->num == 0)
		return;
	begin_blocks(report->out, &table,
				 num > notes->num ?
				 psprintf("%s: the first %d of %llu", caption, notes->num,
						  (unsigned long long) num) : caption, true);
	for (int i = 0; i < notes->num; i++)
		write_block_row(report, &table, notes->notes[i].blkno,
						notes->notes[i].detail);
	walredo_html_table_end(report->out);
}

static void
write_reasons(const Report *report)
{
	const WalredoRelationData *data = report->data;
	static const char *const columns[] = {
		"#blocks", "#from", "#to", "reason"
	};
	WalredoHtmlTable table;

	if (data->num_reasons == 0)
		return;
	walredo_html_table_begin(report->out, &table,
							 "Why blocks are unverifiable", columns,
							 lengthof(columns));
	for (int i = 0; i < data->num_reasons; i++)
	{
		const WalredoReason *reason = &data->reasons[i];
		const char *cells[] = {
			number_text(reason->num_blocks), number_text(reason->first),
			number_text(reason->last), reason->detail
		};

		walredo_html_table_row(report->out, &table, NULL, cells);
	}
	if (data->num_other_reasons > 0)
	{
		const char *cells[] = {
			number_text(data->num_other_reasons), NULL, NULL, "others"
		};

		walredo_html_table_row(report->out, &table, NULL, cells);
	}
	walredo_html_table_end(report->out);
}

static void
write_tables(Report *report)
{
	const WalredoRelationData *data = report->data;
	WalredoHtmlTable table;

	/* From here on, these are the blocks that have got a row. */
	report->num_listed = 0;

	walredo_html_element(report->out, "h2", NULL, "Blocks");
	write_notes(report, &data->damaged, WALREDO_VERIFY_MISMATCH,
				"Damaged blocks");
	if (report->num_most_written > 0)
	{
		begin_blocks(report->out, &table, "Blocks with the most WAL", false);
		for (int i = 0; i < report->num_most_written; i++)
			write_block_row(report, &table, report->most_written[i], NULL);
		walredo_html_table_end(report->out);
	}
	write_reasons(report);
	if (data->unverifiable.num > 0)
	{
		appendStringInfoString(report->out, "<details>\n");
		walredo_html_element(report->out, "summary", NULL,
							 "Unverifiable blocks one by one");
		write_notes(report, &data->unverifiable, WALREDO_VERIFY_UNVERIFIABLE,
					"Unverifiable blocks");
		appendStringInfoString(report->out, "</details>\n");
	}
}

/* ----------------------------------------
 * The document
 * ----------------------------------------
 */

/* What has been found, in the order of how bad it is. */
static void
write_findings(const Report *report)
{
	const WalredoRelationData *data = report->data;
	const uint64 *num = data->num_of_status;
	ListCell   *lc;

	if (data->not_verified != NULL)
		walredo_html_note(report->out, "damage", "Not verified.",
						  "Whether blocks are damaged is not known. The comparison has failed: %s",
						  data->not_verified);
	walredo_put_breaks(report->out, &data->breaks,
					   "Its records and times do not count.");
	foreach(lc, data->fork_damage)
		walredo_html_note(report->out, "damage", lfirst(lc), "%s", "");
	if (num[WALREDO_VERIFY_MISMATCH] > 0)
		walredo_html_note(report->out, "damage",
						  psprintf("Damaged: %s.",
								   count_text(num[WALREDO_VERIFY_MISMATCH], "block")),
						  "What the server has is not what WAL makes.");
	if (num[WALREDO_VERIFY_OK] == data->num_blocks &&
		data->num_blocks > 0 && data->fork_damage == NIL)
		walredo_html_note(report->out, "good", "All blocks are ok.",
						  "Each is what WAL makes.");
	foreach(lc, data->fork_notes)
		walredo_html_note(report->out, NULL, lfirst(lc), "%s", "");
	if (num[WALREDO_VERIFY_UNVERIFIABLE] > 0)
		walredo_html_note(report->out, NULL,
						  psprintf("Unverifiable: %s.",
								   count_text(num[WALREDO_VERIFY_UNVERIFIABLE],
											  "block")),
						  "There is nothing to compare them with, so they may be damaged or not.");
	if (num[WALREDO_VERIFY_UNLOGGED] > 0)
		walredo_html_note(report->out, NULL,
						  psprintf("Not logged: %s.",
								   count_text(num[WALREDO_VERIFY_UNLOGGED],
											  "block")),
						  "WAL has nothing to compare them with, so they may be damaged or not.");
	if (num[WALREDO_BLOCK_NOT_COMPARED] > 0)
		walredo_html_note(report->out, NULL,
						  psprintf("Not compared: %s.",
								   count_text(num[WALREDO_BLOCK_NOT_COMPARED],
											  "block")),
						  "Nothing is known of whether they are damaged.");
}

/* What the numbers mean, and what was not read or is not known. */
static void
write_limits(const Report *report)
{
	const WalredoRelationData *data = report->data;
	StringInfo	out = report->out;

	walredo_html_element(out, "h2", NULL, "What was read, and what is not known");
	appendStringInfoString(out, "<ul>\n");
	walredo_html_element(out, "li", NULL,
						 "The status of blocks is as of when the report was made, and all available WAL was read for it. Differences that redo need not reproduce, such as hint bits, are no damage.");
	walredo_html_element(out, "li", NULL,
						 "Records and their bytes, and times, are those of WAL from %s to %s. Nothing is known of what was written before or after.",
						 step_text(data, data->start_lsn),
						 step_text(data, data->end_lsn));
	if (data->was_removed)
		walredo_html_element(out, "li", NULL,
							 "WAL before %X/%X was removed while it was read, and does not count.",
							 LSN_FORMAT_ARGS(data->start_lsn));
	walredo_html_element(out, "li", NULL,
						 "A record that changes several blocks counts for each of them, but a full-page image only for its block.");
	if (data->num_gone > 0)
		walredo_html_element(out, "li", NULL,
							 "%s blocks that the fork does not have any more.",
							 data->num_gone == 1 ? "1 record changes" :
							 psprintf("%llu records change",
									  (unsigned long long) data->num_gone));
	walredo_html_element(out, "li", NULL,
						 "The last change is that of the page's LSN. Its time is when the next transaction ended, to within %g s. Changes that do not set the LSN are not seen.",
						 data->resolution / (double) USECS_PER_SEC);
	if (data->num_new > 0)
		walredo_html_element(out, "li", NULL,
							 "%s without an LSN: new, and not written to since, which is ok.",
							 data->num_new == 1 ? "1 block is" :
							 psprintf("%llu blocks are",
									  (unsigned long long) data->num_new));
	appendStringInfoString(out, "</ul>\n");
}

void
walredo_report_relation(StringInfo out, Oid relid, ForkNumber forknum,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn,
						const char *directory)
{
	WalredoRelationData *data = walredo_collect_relation(relid, forknum,
														 start_lsn, end_lsn,
														 directory);
	Report	   *report = palloc0(sizeof(Report));

	report->out = out;
	report->data = data;
	make_cells(report);
	make_scales(report);
	find_most_written(report);
	list_blocks(report);

	walredo_html_begin(out, forknum == MAIN_FORKNUM ?
					   psprintf("Blocks of %s", data->name) :
					   psprintf("Blocks of %s, fork %s", data->name,
								forkNames[forknum]));
	walredo_html_element(out, "p", "soft",
						 "Fork %s of relation file %u/%u/%u: %s of %d bytes, %s. PostgreSQL %s, %s.",
						 forkNames[forknum], data->tag.spcOid,
						 data->tag.dbOid, data->tag.relNumber,
						 count_text(data->num_blocks, "block"), BLCKSZ,
						 size_text((uint64) data->num_blocks * BLCKSZ),
						 PG_VERSION, time_text(GetCurrentTimestamp()));
	write_findings(report);
	if (data->num_blocks == 0)
		walredo_html_element(out, "p", NULL, "The fork has no blocks.");
	else
	{
		write_status_map(report);
		write_change_map(report);
		write_bytes_map(report);
		write_tables(report);
	}
	write_limits(report);
	walredo_html_end(out);
}
