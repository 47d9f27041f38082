/*-------------------------------------------------------------------------
 *
 * report.c
 *	  A page and its history as a document.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/report.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "commands/dbcommands.h"
#include "common/relpath.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/verify.h"
#include "page/verify_compare.h"
#include "record/slru.h"
#include "report/classes.h"
#include "report/html.h"
#include "report/live.h"
#include "report/page_svg.h"
#include "report/report.h"
#include "report/strip.h"
#include "report/xids.h"
#include "storage/bufpage.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The most ranges of bytes that differ, and bytes of each, that are listed. */
#define MAX_LISTED_RUNS		100
#define MAX_LISTED_BYTES	24

/* The most parts that a picture names as changed. */
#define MAX_NAMED_PARTS		5

/* How much of a tuple's data a table shows. */
#define MAX_DATA			40

/* Bytes in a line of a hexadecimal dump. */
#define DUMP_COLUMNS		16

/* The most runs of transactions of a page of pg_xact that are listed. */
#define MAX_LISTED_XIDS		200

/* Everything that a report is about. */
typedef struct PageReport
{
	StringInfo	out;
	const WalredoTag *tag;
	const char *directory;
	const char *tag_name;
	WalredoStrip *strip;
	WalredoLivePage *live;
	WalredoXids *xids;			/* NULL if the server is not asked */

	/* The page that is drawn large, or NULL, and its parts. */
	const char *page;
	int			page_size;
	WalredoPageParts *parts;
	const WalredoPicture *newest;	/* the last picture, or NULL */

	/* Bytes in which the server's page is not what WAL says, or NULL. */
	WalredoByteRuns *differences;
	const char *no_differences; /* why these are not known, though there are */
	bool		are_masked;
	bool		used[WALREDO_BYTES_NCLASSES];
} PageReport;

/* ----------------------------------------
 * Damage
 * ----------------------------------------
 */

/*
 * Has a page an LSN after lsn, which it can have by now?  A damaged page can
 * have any.
 */
static bool
is_newer(XLogRecPtr page_lsn, XLogRecPtr lsn)
{
	return page_lsn > lsn &&
		page_lsn <= (RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) :
					 GetXLogInsertRecPtr());
}

/*
 * Finds the bytes in which the server's page differs from the newest picture,
 * which is what WAL says, under the mask that verify_compare.c uses.
 */
static void
find_differences(PageReport *report)
{
	const WalredoLivePage *live = report->live;
	const WalredoPicture *newest = report->newest;
	PGAlignedBlock a;
	PGAlignedBlock b;
	const int	first = offsetof(PageHeaderData, pd_flags);

	if (!live->has_page ||
		(!live->from_file &&
		 !(live->is_compared &&
		   live->result.status == WALREDO_VERIFY_MISMATCH)))
		return;
	if (!report->strip->to_end)
		report->no_differences = "the range does not go on to the end of WAL";
	else if (!walredo_strip_reaches_end(report->strip))
		report->no_differences =
			"not all WAL up to its end can be read, and it has no record of the page after that";
	else if (newest == NULL || newest->page == NULL || newest->size != BLCKSZ)
		report->no_differences = "WAL does not make the page";
	else if (is_newer(PageGetLSN((Page) live->page.data),
					  report->strip->wal_end))
		report->no_differences = "the page was changed while WAL was read";
	if (report->no_differences != NULL)
		return;
	memcpy(a.data, live->page.data, BLCKSZ);
	memcpy(b.data, newest->page, BLCKSZ);
	mask_page_lsn_and_checksum(a.data);
	mask_page_lsn_and_checksum(b.data);
	report->are_masked =
		walredo_mask_pair(newest->rmid >= 0 ? newest->rmid : live->rmid,
						  (BlockNumber) report->tag->number, a.data, b.data);

	/*
	 * On a damaged page, a mask can blank something else than on the other
	 * one.  Bytes that are equal as they are do not count.
	 */
	if (report->are_masked)
	{
		for (int i = 0; i < BLCKSZ; i++)
		{
			if (live->page.data[i] == newest->page[i])
				b.data[i] = a.data[i];
		}
		report->differences =
			walredo_differences(a.data, b.data, first, BLCKSZ);
		if (report->differences->nruns > 0)
			return;
	}
	report->are_masked = false;
	report->differences =
		walredo_differences(live->page.data, newest->page, first, BLCKSZ);
}

/* Up to max bytes in hexadecimal, palloc'd. */
static char *
hex(const char *bytes, int length, int max)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < Min(length, max); i++)
		appendStringInfo(&buf, "%s%02x", i > 0 ? " " : "",
						 (unsigned char) bytes[i]);
	if (length > max)
		appendStringInfoString(&buf, " ...");
	return buf.data;
}

/* Lists the bytes that differ. */
static void
put_differences(PageReport *report)
{
	static const char *const columns[] = {
		"bytes", "part", "the page has", "WAL says"
	};
	StringInfo	out = report->out;
	WalredoHtmlTable table;
	const WalredoByteRuns *runs = report->differences;

	if (report->no_differences != NULL)
		walredo_html_note(out, NULL, "Which bytes differ is not shown.", " The reason is that %s.",
						  report->no_differences);
	if (runs == NULL)
		return;
	walredo_html_element(out, "h2", NULL, "Bytes that are not what WAL says");
	if (runs->nruns == 0)
	{
		walredo_html_element(out, "p", NULL,
							 "None but those of the LSN and the checksum, and what is changed without being logged, such as hint bits.");
		return;
	}
	walredo_html_element(out, "p", NULL,
						 "%d bytes in %d ranges differ from the page as of %X/%X, as WAL makes it. %s",
						 runs->nbytes, runs->nruns,
						 LSN_FORMAT_ARGS(report->newest->lsn),
						 report->are_masked ?
						 "The LSN, the checksum, and what is changed without being logged, such as hint bits, do not count." :
						 "The pages were compared as they are; so what is changed without being logged, such as hint bits, can be among these.");
	walredo_html_table_begin(out, &table, "Differences", columns,
							 lengthof(columns));
	for (int i = 0; i < Min(runs->nruns, MAX_LISTED_RUNS); i++)
	{
		const WalredoByteRun *run = &runs->runs[i];
		int			length = run->end - run->start;
		const WalredoPagePart *part = WalredoPartOfByte(report->parts,
														run->start);
		const char *cells[4];

		cells[0] = length == 1 ? psprintf("%d", run->start) :
			psprintf("%d to %d", run->start, run->end - 1);
		cells[1] = part->name != NULL ? part->name :
			walredo_byte_keys[part->class].label;
		cells[2] = hex(report->live->page.data + run->start, length,
					   MAX_LISTED_BYTES);
		cells[3] = hex(report->newest->page + run->start, length,
					   MAX_LISTED_BYTES);
		walredo_html_table_row(out, &table, "damage", cells);
	}
	walredo_html_table_end(out);
	if (runs->nruns > MAX_LISTED_RUNS)
		walredo_html_element(out, "p", "soft",
							 "%d more ranges are not listed, but marked in the drawing.",
							 runs->nruns - MAX_LISTED_RUNS);
}

/* ----------------------------------------
 * What the report says first
 * ----------------------------------------
 */

/* Is the page what WAL says? */
static void
put_verdict(PageReport *report)
{
	const WalredoLivePage *live = report->live;
	StringInfo	out = report->out;
	const char *detail = live->result.detail;

	if (live->from_file)
		walredo_html_note(out, "damage", "Damaged.",
						  " %s What is drawn is what the file has.", live->problem);
	else if (live->problem != NULL)
		walredo_html_note(out, NULL, live->is_elsewhere ? "Not read from the server." :
						  "The page is not there now.", " %s", live->problem);
	if (live->has_failed)
		walredo_html_note(out, "damage", "Not proven.",
						  " Whether the page is what WAL says is not known. The comparison has failed: %s",
						  live->not_compared);
	else if (!live->is_compared &&
			 (live->problem == NULL || live->problem != live->not_compared))
		walredo_html_note(out, NULL, "Not compared with WAL.", " %s",
						  live->not_compared);
	if (!live->is_compared)
		return;
	switch (live->result.status)
	{
		case WALREDO_VERIFY_OK:
			walredo_html_note(out, "good", "Sound.",
							  " The page that the server has now is the one that WAL makes.%s%s",
							  detail != NULL ? " " : "", detail != NULL ? detail : "");
			break;
		case WALREDO_VERIFY_MISMATCH:
			if (!live->from_file)
				walredo_html_note(out, "damage", "Damaged.",
								  " The page is not what WAL says. %s",
								  detail != NULL ? detail : "");
			break;
		case WALREDO_VERIFY_UNVERIFIABLE:
			walredo_html_note(out, NULL, "Not proven.",
							  " Whether the page is what WAL says is not known. %s",
							  detail != NULL ? detail : "");
			break;
		case WALREDO_VERIFY_UNLOGGED:
			walredo_html_note(out, NULL, "Not logged.", " %s",
							  detail != NULL ? detail : "WAL does not tell of this page.");
			break;
	}
	if (live->has_page && !live->from_file &&
		live->result.page_lsn != InvalidXLogRecPtr &&
		live->result.page_lsn != PageGetLSN((Page) live->page.data))
		walredo_html_note(out, NULL, "The page is being changed.",
						  " It had LSN %X/%X when it was compared, and is drawn as it was before that.",
						  LSN_FORMAT_ARGS(live->result.page_lsn));
}

/* What was read, and what was not. */
static void
put_range(PageReport *report)
{
	const WalredoStrip *strip = report->strip;
	StringInfo	out = report->out;

	walredo_put_breaks(out, &strip->breaks,
					   "What was changed there is not shown, and after it the page is not known before a record starts it anew.");
	if (strip->start_lsn != InvalidXLogRecPtr &&
		strip->start_lsn < strip->wal_start)
		walredo_html_note(out, NULL, "WAL is missing.",
						  " The history was to start at %X/%X, but WAL begins at %X/%X. What was changed before is not shown.",
						  LSN_FORMAT_ARGS(strip->start_lsn),
						  LSN_FORMAT_ARGS(strip->wal_start));
	if (strip->has_gap)
		walredo_html_note(out, NULL, "WAL was removed while it was read.",
						  " The history begins after that, at %X/%X.",
						  LSN_FORMAT_ARGS(strip->wal_start));
	if (!strip->of_server)
		walredo_html_note(out, NULL, "WAL of another server.",
						  " This is WAL of system %llu on timeline %u, so this server was not asked which transactions have committed: tuples whose hint bits do not tell are drawn as not known.",
						  (unsigned long long) strip->system, strip->timeline);
}

static void
put_head(PageReport *report)
{
	StringInfo	out = report->out;
	const WalredoStrip *strip = report->strip;
	const char *database = get_database_name(MyDatabaseId);
	const char *fork = report->tag->kind == WALREDO_TAG_REL ?
		forkNames[report->tag->forknum] : NULL;
	char	   *title;

	if (report->live->relname != NULL)
		title = psprintf("Block %u of %s%s%s",
						 (BlockNumber) report->tag->number,
						 report->live->relname,
						 report->tag->forknum != MAIN_FORKNUM ? ", fork " : "",
						 report->tag->forknum != MAIN_FORKNUM ? fork : "");
	else
		title = psprintf("Page %s", report->tag_name);
	walredo_html_begin(out, title);
	appendStringInfoString(out, "<p class=\"soft\"><code>");
	walredo_html_text(out, report->tag_name);
	appendStringInfoString(out, "</code>");
	walredo_html_format(out, ", PostgreSQL %s, database ",
						PG_VERSION);
	appendStringInfoString(out, "<code>");
	walredo_html_text(out, database != NULL ? database : "?");
	appendStringInfoString(out, "</code>");
	walredo_html_format(out, ", %s; WAL from %X/%X to %X/%X.",
						timestamptz_to_str(GetCurrentTimestamp()),
						LSN_FORMAT_ARGS(Max(strip->start_lsn,
											strip->wal_start)),
						LSN_FORMAT_ARGS(strip->wal_end));
	appendStringInfoString(out, "</p>\n");
	put_verdict(report);
	put_range(report);
}

/* ----------------------------------------
 * The page
 * ----------------------------------------
 */

/* The page that is drawn large: the server's, or the newest that WAL has. */
static void
choose_page(PageReport *report)
{
	const WalredoPicture *newest = report->newest;
	int			rmid = report->live->rmid;

	if (newest != NULL && newest->rmid >= 0 && rmid < 0)
		rmid = newest->rmid;
	if (report->live->has_page)
	{
		report->page = report->live->page.data;
		report->page_size = BLCKSZ;
	}
	else if (newest != NULL && newest->page != NULL)
	{
		report->page = newest->page;
		report->page_size = newest->size;
	}
	else
		return;
	report->parts =
		walredo_classify_page(walredo_look_of_page(report->tag, rmid,
												   report->page,
												   report->page_size),
							  report->page, report->page_size, report->xids,
							  true);
	walredo_note_classes(report->parts, report->used);
}

static void
put_page(PageReport *report)
{
	StringInfo	out = report->out;
	const WalredoPageParts *parts = report->parts;
	char	   *title;
	ListCell   *lc;

	if (parts == NULL)
		return;
	if (report->live->has_page)
		title = psprintf("The page now, with LSN %X/%X",
						 LSN_FORMAT_ARGS(PageGetLSN((Page) report->page)));
	else
		title = psprintf("The page as of %X/%X, from WAL",
						 LSN_FORMAT_ARGS(report->newest->lsn));
	walredo_html_element(out, "h2", NULL, "%s", title);
	if (parts->nproblems > 0)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		foreach(lc, parts->problems)
			appendStringInfo(&buf, " %s", (char *) lfirst(lc));
		if (parts->nproblems > list_length(parts->problems))
			appendStringInfo(&buf, " And %d more.",
							 parts->nproblems - list_length(parts->problems));
		walredo_html_note(out, "damage", "The page cannot be as it is.", "%s", buf.data);
	}
	if (report->newest != NULL && report->page == report->newest->page &&
		report->newest->full_size > report->newest->size)
		walredo_html_note(out, NULL, "Cut off.", " Of %zu bytes, the first %d are shown.",
						  report->newest->full_size, report->newest->size);
	appendStringInfoString(out, "<figure>\n");
	walredo_draw_page(out, "page", parts, report->page, report->differences,
					  title);
	appendStringInfoString(out, "</figure>\n");
	walredo_draw_legend(out, report->used, report->strip->npictures > 1,
						report->differences != NULL &&
						report->differences->nruns > 0);
	walredo_html_element(out, "p", "soft",
						 "Each cell is a byte, 128 in a row. The part that a byte belongs to is shown on hover.%s",
						 parts->look == WALREDO_LOOK_HEAP ?
						 " Whether a transaction has committed is what the server knows now, in pictures of the past as well." : "");
}

/* The fields of the header, and of the special space. */
static void
put_fields(PageReport *report)
{
	static const char *const columns[] = {"field", "#byte", "value"};
	StringInfo	out = report->out;
	const WalredoPageParts *parts = report->parts;
	WalredoHtmlTable table;

	walredo_html_table_begin(out, &table, "Fields", columns,
							 lengthof(columns));
	for (int i = 0; i < parts->nparts; i++)
	{
		const WalredoPagePart *part = &parts->parts[i];
		const char *cells[3];

		if (part->item != 0 || part->name == NULL || part->cells[0] == NULL)
			continue;
		cells[0] = part->name;
		cells[1] = psprintf("%d", part->offset);
		cells[2] = part->cells[0];
		walredo_html_table_row(out, &table, NULL, cells);
	}
	walredo_html_table_end(out);
}

/* Is a part a line pointer? */
static bool
is_line_pointer(const WalredoPageParts *parts, const WalredoPagePart *part)
{
	return part->item != 0 && part->offset < SizeOfPageHeaderData +
		part->item * sizeof(ItemIdData) &&
		part->offset == SizeOfPageHeaderData +
		(part->item - 1) * sizeof(ItemIdData);
}

/* The line pointers, and their tuples. */
static void
put_items(PageReport *report)
{
	StringInfo	out = report->out;
	const WalredoPageParts *parts = report->parts;
	const char *columns[5 + WALREDO_PART_CELLS] = {"#lp", "#offset", "#length",
	"state"};
	int			ncolumns = 4;
	WalredoHtmlTable table;

	for (int i = 0; i < WALREDO_PART_CELLS; i++)
	{
		if (parts->cell_names[i] != NULL)
			columns[ncolumns++] = parts->cell_names[i];
	}
	columns[ncolumns++] = "data";
	walredo_html_table_begin(out, &table, "Line pointers and tuples", columns,
							 ncolumns);
	for (int i = 0; i < parts->nparts; i++)
	{
		const WalredoPagePart *part = &parts->parts[i];
		const WalredoPagePart *tuple = NULL;
		const char *cells[5 + WALREDO_PART_CELLS] = {0};
		int			n = 4;

		if (!is_line_pointer(parts, part))
			continue;

		/* Its tuple, if it has one, is the part that was added next. */
		if (i + 1 < parts->nparts && parts->parts[i + 1].item == part->item &&
			!is_line_pointer(parts, &parts->parts[i + 1]))
			tuple = &parts->parts[i + 1];
		cells[0] = psprintf("%d", part->item);
		if (tuple == NULL)
			cells[3] = strchr(part->name, ',') != NULL ?
				strchr(part->name, ',') + 2 : part->name;
		else
		{
			cells[1] = psprintf("%d", tuple->offset);
			cells[2] = psprintf("%d", tuple->length);
			cells[3] = walredo_byte_keys[tuple->class].label;
			if (strncmp(cells[3], "tuple, ", 7) == 0)
				cells[3] += 7;
			for (int j = 0; j < WALREDO_PART_CELLS; j++)
			{
				if (parts->cell_names[j] != NULL)
					cells[n++] = tuple->cells[j];
			}
			if (tuple->data != 0)
				cells[ncolumns - 1] =
					walredo_bytes_as_text(report->page + tuple->data,
										  tuple->offset + tuple->length -
										  tuple->data, MAX_DATA);
		}
		walredo_html_table_row(out, &table,
							   part->class == WALREDO_BYTES_BROKEN ||
							   (tuple != NULL &&
								tuple->class == WALREDO_BYTES_BROKEN) ?
							   "damage" : NULL, cells);
	}
	walredo_html_table_end(out);
}

/*
 * What a dump says of a byte: its WalredoByteClass, or that it is not what WAL
 * says; and this bit, if the last picture has changed it.
 */
#define DUMP_DIFFERS		WALREDO_BYTES_NCLASSES
#define DUMP_NKINDS			(DUMP_DIFFERS + 1)
#define DUMP_CHANGED		0x80

/*
 * How a kind of bytes is shown, and its letter, for those who do not see
 * colours: that of the drawing, if there is one.
 */
static WalredoHtmlKey
key_of_dump(int kind)
{
	static const char *const letters[WALREDO_BYTES_NCLASSES] = {
		[WALREDO_BYTES_FREE] = ".",
		[WALREDO_BYTES_HEADER] = "h",
		[WALREDO_BYTES_LP] = "p",
		[WALREDO_BYTES_LP_REDIRECT] = "r",
		[WALREDO_BYTES_LP_DEAD] = "d",
		[WALREDO_BYTES_LP_UNUSED] = "u",
		[WALREDO_BYTES_CONTENTS] = "c",
		[WALREDO_BYTES_LOST] = "l",
		[WALREDO_BYTES_SPECIAL] = "s"
	};
	static const WalredoHtmlKey differs = {
		"k-differ", "#", "not what WAL says"
	};
	WalredoHtmlKey key;

	if (kind == DUMP_DIFFERS)
		return differs;
	key = walredo_byte_keys[kind];
	if (key.letter == NULL)
		key.letter = letters[kind];
	return key;
}

/*
 * What the last picture has changed, if it is of the page that is drawn, or
 * NULL.
 */
static const WalredoByteRuns *
last_changes(const PageReport *report)
{
	const WalredoStrip *strip = report->strip;
	const WalredoPicture *last = report->newest;
	const WalredoPicture *before = &strip->before;

	if (strip->npictures == 0 ||
		walredo_has_break(&strip->breaks, last->start_lsn, last->lsn))
		return NULL;
	if (strip->npictures > 1)
	{
		before = &strip->pictures[strip->npictures - 2];
		if (walredo_has_break(&strip->breaks, before->lsn, last->lsn))
			return NULL;
	}
	if (last->page == NULL || before->page == NULL ||
		last->size != report->page_size || before->size != last->size)
		return NULL;
	return walredo_differences(before->page, last->page,
							   report->tag->kind == WALREDO_TAG_REL ?
							   offsetof(PageHeaderData, pd_flags) : 0,
							   last->size);
}

/* Finds out what the dump says of each byte; palloc'd. */
static uint8 *
prepare_dump(PageReport *report)
{
	const WalredoByteRuns *changes = last_changes(report);
	const WalredoByteRuns *differences = report->differences;
	uint8	   *kinds = palloc(report->page_size);

	for (int i = 0; i < report->page_size; i++)
		kinds[i] = WalredoPartOfByte(report->parts, i)->class;
	for (int i = 0; changes != NULL && i < changes->nruns; i++)
	{
		for (int j = changes->runs[i].start; j < changes->runs[i].end; j++)
			kinds[j] |= DUMP_CHANGED;
	}
	for (int i = 0; differences != NULL && i < differences->nruns; i++)
		memset(kinds + differences->runs[i].start, DUMP_DIFFERS,
			   differences->runs[i].end - differences->runs[i].start);
	return kinds;
}

/* Lists what is used in a dump, with the letters. */
static void
put_letters(PageReport *report, const uint8 *kinds)
{
	StringInfo	out = report->out;
	bool		used[DUMP_NKINDS] = {0};
	bool		has_changes = false;

	for (int i = 0; i < report->page_size; i++)
	{
		used[kinds[i] & ~DUMP_CHANGED] = true;
		has_changes = has_changes || (kinds[i] & DUMP_CHANGED) != 0;
	}
	appendStringInfoString(out, "<ul class=\"legend\">\n");
	for (int kind = 0; kind < DUMP_NKINDS; kind++)
	{
		WalredoHtmlKey key;

		if (!used[kind])
			continue;
		key = key_of_dump(kind);
		appendStringInfoString(out, "<li>");
		walredo_html_element(out, "code", key.class, "%s", key.letter);
		walredo_html_text(out, key.label);
		appendStringInfoString(out, "</li>\n");
	}
	if (has_changes)
		appendStringInfoString(out, "<li><code class=\"k-change\">00</code>changed in the last picture</li>\n");
	appendStringInfoString(out, "</ul>\n");
}

/* A line of a dump: the offset, bytes, the same as text, and letters. */
static void
put_dump_line(StringInfo out, const char *page, const uint8 *kinds, int offset,
			  int length)
{
	appendStringInfo(out, "%04d  ", offset);
	for (int i = offset; i < offset + length; i++)
	{
		/* Neighbours of the same kind are one element. */
		if (i == offset || kinds[i] != kinds[i - 1])
			appendStringInfo(out, "%s<span class=\"%s%s\">",
							 i > offset ? "</span> " : "",
							 key_of_dump(kinds[i] & ~DUMP_CHANGED).class,
							 (kinds[i] & DUMP_CHANGED) != 0 ? " k-change" : "");
		else
			appendStringInfoChar(out, ' ');
		appendStringInfo(out, "%02x", (unsigned char) page[i]);
	}
	appendStringInfo(out, "</span>%*s  ", (DUMP_COLUMNS - length) * 3, "");
	for (int i = offset; i < offset + length; i++)
		walredo_html_bytes(out, page[i] >= 0x20 && page[i] < 0x7F ?
						   page + i : ".", 1);
	appendStringInfo(out, "%*s  ", DUMP_COLUMNS - length, "");
	for (int i = offset; i < offset + length; i++)
		appendStringInfoString(out,
							   key_of_dump(kinds[i] & ~DUMP_CHANGED).letter);
	appendStringInfoChar(out, '\n');
}

/* Has a line of a dump what the one before it has? */
static bool
is_same_line(const char *page, const uint8 *kinds, int offset, int length)
{
	return offset >= DUMP_COLUMNS && length == DUMP_COLUMNS &&
		memcmp(page + offset, page + offset - DUMP_COLUMNS, length) == 0 &&
		memcmp(kinds + offset, kinds + offset - DUMP_COLUMNS, length) == 0;
}

/*
 * All bytes, in hexadecimal, with what each of them is.  Of lines that are the
 * same the first is shown, as by od.  Of pages of which nothing but this tells
 * what they have, it is open.
 */
static void
put_dump(PageReport *report)
{
	StringInfo	out = report->out;
	uint8	   *kinds = prepare_dump(report);
	bool		was_same = false;

	appendStringInfo(out, "<details class=\"bytes\"%s><summary>All bytes</summary>\n",
					 report->parts->look < WALREDO_LOOK_BTREE ?
					 " open=\"open\"" : "");
	walredo_html_element(out, "p", "soft",
						 "The offset, the bytes, the same as text, and a letter for what each byte is. * stands for lines that are the same as the one before.");
	put_letters(report, kinds);
	appendStringInfoString(out, "<pre>");
	for (int i = 0; i < report->page_size; i += DUMP_COLUMNS)
	{
		int			length = Min(DUMP_COLUMNS, report->page_size - i);
		bool		is_same = is_same_line(report->page, kinds, i, length);

		if (!is_same)
			put_dump_line(out, report->page, kinds, i, length);
		else if (!was_same)
			appendStringInfoString(out, "*\n");
		was_same = is_same;
	}
	appendStringInfoString(out, "</pre></details>\n");
	pfree(kinds);
}

/*
 * The transactions of a page of pg_xact: runs of those of which it says the
 * same.
 */
static void
put_transactions(PageReport *report)
{
	static const char *const columns[] = {"#from", "#to", "status"};
	static const char *const states[] = {
		"in progress, or not there yet", "committed", "aborted",
		"committed subtransaction"
	};
	StringInfo	out = report->out;
	const int	nxids = report->page_size * 4;
	TransactionId first = (TransactionId) report->tag->number *
		WALREDO_CLOG_XACTS_PER_PAGE;
	WalredoHtmlTable table;
	int			nruns = 0;

	walredo_html_table_begin(out, &table, "Transactions", columns,
							 lengthof(columns));
	for (int i = 0, end; i < nxids; i = end)
	{
		int			state = (report->page[i / 4] >> (i % 4 * 2)) & 3;
		const char *cells[3];

		for (end = i + 1; end < nxids; end++)
		{
			if (((report->page[end / 4] >> (end % 4 * 2)) & 3) != state)
				break;
		}
		if (++nruns > MAX_LISTED_XIDS)
			continue;
		cells[0] = psprintf("%u", first + i);
		cells[1] = psprintf("%u", first + end - 1);
		cells[2] = states[state];
		walredo_html_table_row(out, &table, NULL, cells);
	}
	walredo_html_table_end(out);
	if (nruns > MAX_LISTED_XIDS)
		walredo_html_element(out, "p", "soft", "%d more are not listed.",
							 nruns - MAX_LISTED_XIDS);
}

static void
put_tables(PageReport *report)
{
	if (report->parts == NULL)
		return;
	walredo_html_element(report->out, "h2", NULL, "What is in the page");
	if (report->parts->look != WALREDO_LOOK_BYTES)
		put_fields(report);
	if (report->parts->look >= WALREDO_LOOK_ITEMS)
		put_items(report);
	if (report->tag->kind == WALREDO_TAG_CLOG)
		put_transactions(report);
	put_dump(report);
}

/* ----------------------------------------
 * The history
 * ----------------------------------------
 */

/* Names the parts of a page that were changed, each once. */
static void
put_changes(StringInfo out, const WalredoPageParts *parts,
			const WalredoByteRuns *changes)
{
	StringInfoData buf;
	int			named = 0;
	int			others = 0;
	int			last = -1;

	initStringInfo(&buf);
	for (int i = 0; i < changes->nruns; i++)
	{
		for (int j = changes->runs[i].start; j < changes->runs[i].end; j++)
		{
			const WalredoPagePart *part = WalredoPartOfByte(parts, j);

			if (parts->map[j] == last)
				continue;
			last = parts->map[j];
			if (named >= MAX_NAMED_PARTS)
			{
				others++;
				continue;
			}
			named++;
			appendStringInfoString(&buf, named > 1 ? ", " : "");
			if (part->item == 0)
				appendStringInfoString(&buf, part->name != NULL ? part->name :
									   walredo_byte_keys[part->class].label);
			else if (is_line_pointer(parts, part))
				appendStringInfo(&buf, "line pointer %d", part->item);
			else
				appendStringInfo(&buf, "tuple %d", part->item);
		}
	}
	if (others > 0)
		appendStringInfo(&buf, " and more");
	walredo_html_element(out, "p", NULL, "Changed: %d bytes in %s.",
						 changes->nbytes, buf.data);
	pfree(buf.data);
}

/* The transaction of a picture, and when it ended. */
static void
put_transaction(StringInfo out, const WalredoStrip *strip,
				const WalredoPicture *picture)
{
	const char *which = picture->first == picture->last ? "transaction" :
		"last transaction";

	if (!TransactionIdIsValid(picture->xid))
		walredo_html_element(out, "p", "soft", "no transaction");
	else if (picture->has_end)
	{
		walredo_html_element(out, "p", "soft", "%s %u, %s", which,
							 picture->xid,
							 picture->is_commit ? "committed" : "aborted");
		walredo_html_element(out, "p", "time", "%s",
							 timestamptz_to_str(picture->time));
	}
	else
		walredo_html_element(out, "p", "soft", "%s %u, whose end %s", which,
							 picture->xid,
							 strip->near_only ?
							 "is not in the next MB of WAL" :
							 strip->breaks.num > 0 ?
							 "is not in the WAL that can be read" :
							 "WAL does not have");
}

/* What the records of a picture are. */
static void
put_types(StringInfo out, const WalredoPicture *picture)
{
	appendStringInfoString(out, "<p class=\"mono\">");
	for (int i = 0; i < picture->ntypes; i++)
	{
		const WalredoRecordType *type = &picture->types[i];

		walredo_html_format(out, "%s%s/%s", i > 0 ? ", " : "", type->rmgr,
							type->type);
		if (picture->first != picture->last)
			walredo_html_format(out, " (%llu)",
								(unsigned long long) type->count);
	}
	if (picture->num_others > 0)
		walredo_html_format(out, ", and %llu of other types",
							(unsigned long long) picture->num_others);
	appendStringInfoString(out, "</p>\n");
}

/* A picture, after the one before it. */
static void
put_picture(PageReport *report, int number, const WalredoPicture *before)
{
	StringInfo	out = report->out;
	const WalredoPicture *picture = &report->strip->pictures[number];
	WalredoPageParts *parts = NULL;
	WalredoByteRuns *changes = NULL;
	char		id[32];

	appendStringInfoString(out, "<li class=\"card\">\n");
	if (picture->page != NULL)
	{
		int			rmid = picture->rmid >= 0 ? picture->rmid :
			report->live->rmid;
		int			first = report->tag->kind == WALREDO_TAG_REL ?
			offsetof(PageHeaderData, pd_flags) : 0;

		parts = walredo_classify_page(walredo_look_of_page(report->tag, rmid,
														   picture->page,
														   picture->size),
									  picture->page, picture->size,
									  report->xids, true);
		if (before->page != NULL && before->size == picture->size)
			changes = walredo_differences(before->page, picture->page, first,
										  picture->size);
		snprintf(id, sizeof(id), "r%d", number + 1);
		walredo_draw_picture(out, id, parts, changes,
							 psprintf("The page as of %X/%X",
									  LSN_FORMAT_ARGS(picture->lsn)));
		walredo_note_classes(parts, report->used);
	}
	else
		walredo_html_element(out, "p", "none", "%s", picture->problem);
	if (picture->first == picture->last)
		walredo_html_element(out, "h3", NULL, "Record %llu, %X/%X",
							 (unsigned long long) picture->first,
							 LSN_FORMAT_ARGS(picture->lsn));
	else
		walredo_html_element(out, "h3", NULL,
							 "Records %llu to %llu, %X/%X",
							 (unsigned long long) picture->first,
							 (unsigned long long) picture->last,
							 LSN_FORMAT_ARGS(picture->lsn));
	put_types(out, picture);
	put_transaction(out, report->strip, picture);
	if (picture->description != NULL && picture->description[0] != '\0')
		walredo_html_element(out, "p", NULL, "%s", picture->description);
	if (changes != NULL && changes->nruns > 0)
		put_changes(out, parts, changes);
	else if (changes != NULL)
		walredo_html_element(out, "p", NULL, "Changed: %s.",
							 report->tag->kind == WALREDO_TAG_REL ?
							 "nothing but the LSN" : "nothing");
	else if (picture->page != NULL && before->is_absent)
		walredo_html_element(out, "p", NULL, "The page begins here.");
	else if (picture->page != NULL)
		walredo_html_element(out, "p", NULL,
							 "What has changed is not known, as the page before is not.");
	appendStringInfoString(out, "</li>\n");
	if (parts != NULL)
		walredo_free_parts(parts);
}

/*
 * Puts the breaks that come before a record into the strip, from number i on.
 * Returns the number of the next one.
 */
static int
put_breaks_before(PageReport *report, int i, uint64 record)
{
	const WalredoBreaks *breaks = &report->strip->breaks;

	for (; i < breaks->num && breaks->list[i].after_record < record; i++)
	{
		appendStringInfoString(report->out, "<li class=\"card damage\">\n");
		walredo_html_element(report->out, "h3", NULL, "WAL cannot be read");
		walredo_html_element(report->out, "p", NULL, "%s",
							 walredo_break_text(&breaks->list[i]));
		appendStringInfoString(report->out, "</li>\n");
	}
	return i;
}

static void
put_history(PageReport *report)
{
	StringInfo	out = report->out;
	const WalredoStrip *strip = report->strip;
	const WalredoPicture *before = &strip->before;
	const WalredoPicture unknown = {0};
	MemoryContext context;
	int			without = 0;
	int			nbreaks = 0;

	walredo_html_element(out, "h2", NULL, "History");
	if (strip->nrecords == 0)
	{
		walredo_html_element(out, "p", NULL,
							 "WAL from %X/%X to %X/%X has no record of the page%s.",
							 LSN_FORMAT_ARGS(Max(strip->start_lsn,
												 strip->wal_start)),
							 LSN_FORMAT_ARGS(strip->wal_end),
							 strip->breaks.num > 0 ?
							 ", as far as it can be read" : "");
		return;
	}
	for (int i = 0; i < strip->npictures; i++)
		without += strip->pictures[i].page == NULL;
	walredo_html_element(out, "p", NULL,
						 "WAL has %llu %s of the page. Each picture is the page after a record, and what has changed since the picture before is marked.",
						 (unsigned long long) strip->nrecords,
						 strip->nrecords == 1 ? "record" : "records");
	if (strip->step > 1)
		walredo_html_note(out, NULL, "Thinned.",
						  " There are more records than pictures: a picture stands for %llu records, which it counts by type. To see each of them, ask for a shorter range.",
						  (unsigned long long) strip->step);
	if (without > 0)
		walredo_html_note(out, NULL, "Pictures are missing.",
						  " Of %d, %d cannot be made, and say why.", strip->npictures,
						  without);
	if (before->page == NULL)
		walredo_html_element(out, "p", "soft", "Before the first record: %s",
							 before->problem);
	appendStringInfoString(out, "<ol class=\"cards\">\n");
	context = AllocSetContextCreate(CurrentMemoryContext, "walredo picture",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < strip->npictures; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		int			next = put_breaks_before(report, nbreaks,
											 strip->pictures[i].last);

		CHECK_FOR_INTERRUPTS();
		put_picture(report, i, next > nbreaks ? &unknown : before);
		nbreaks = next;
		before = &strip->pictures[i];
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	(void) put_breaks_before(report, nbreaks, strip->nrecords + 1);
	appendStringInfoString(out, "</ol>\n");
}

void
walredo_report_page(StringInfo out, const WalredoTag *tag,
					XLogRecPtr start_lsn, XLogRecPtr end_lsn,
					const char *directory)
{
	PageReport	report = {.out = out,.tag = tag,.directory = directory};
	WalredoLivePage *live = palloc(sizeof(WalredoLivePage));
	WalredoKnownPage known;
	WalredoStrip *strip;
	StringInfoData history;

	report.tag_name = walredo_tag_to_cstring(tag);
	report.strip = strip = walredo_strip_read(tag, start_lsn, end_lsn,
											  directory);
	walredo_strip_find_ends(strip, directory);
	report.live = live;
	known.tag = *tag;
	known.rebuild = strip->rebuild;
	known.end_lsn = strip->wal_end;
	walredo_live_read(tag, directory, strip->of_server,
					  strip->rebuild != NULL ? &known : NULL, live);
	if (strip->rebuild != NULL)
		walredo_rebuild_free(strip->rebuild);
	if (strip->of_server)
		report.xids = walredo_xids_create();
	if (strip->npictures > 0)
		report.newest = &strip->pictures[strip->npictures - 1];
	else if (strip->before.page != NULL)
		report.newest = &strip->before;
	choose_page(&report);
	find_differences(&report);

	/* The legend comes before the history, but has to know its classes. */
	initStringInfo(&history);
	report.out = &history;
	put_history(&report);
	report.out = out;
	put_head(&report);
	put_page(&report);
	put_differences(&report);
	appendBinaryStringInfo(out, history.data, history.len);
	pfree(history.data);
	put_tables(&report);
	appendStringInfoString(out, "<footer>");
	walredo_html_format(out, "Made by walredo. The document needs nothing else, and loads nothing.");
	appendStringInfoString(out, "</footer>\n");
	walredo_html_end(out);
}
