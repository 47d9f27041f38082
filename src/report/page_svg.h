/*-------------------------------------------------------------------------
 *
 * page_svg.h
 *	  Drawing a page byte for byte.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/page_svg.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_PAGE_SVG_H
#define WALREDO_REPORT_PAGE_SVG_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "report/classes.h"

/* Bytes of a page: start up to, but not including, end. */
typedef struct WalredoByteRun
{
	int			start;
	int			end;
} WalredoByteRun;

typedef struct WalredoByteRuns
{
	WalredoByteRun *runs;
	int			nruns;
	int			nbytes;			/* in all of them */
} WalredoByteRuns;

/*
 * The bytes in which two images differ, from first on, palloc'd.
 */
extern WalredoByteRuns *walredo_differences(const char *a, const char *b,
											int first, int size);

/*
 * Draws a page large: each part says on hover what it is, and has its number.
 * The bytes of differences, which can be NULL, are marked as damage.
 */
extern void walredo_draw_page(StringInfo out, const char *id,
							  const WalredoPageParts *parts,
							  const char *page,
							  const WalredoByteRuns *differences,
							  const char *title);

/*
 * Draws a page as a small picture.  The bytes of changes, which can be NULL,
 * are marked.
 */
extern void walredo_draw_picture(StringInfo out, const char *id,
								 const WalredoPageParts *parts,
								 const WalredoByteRuns *changes,
								 const char *title);

/*
 * What a part is, and what it has, as text; palloc'd.  page is that of the
 * parts.
 */
extern char *walredo_part_label(const WalredoPageParts *parts,
								const WalredoPagePart *part,
								const char *page);

/*
 * Bytes as text, palloc'd: characters of the database's encoding as they are,
 * and a point for each byte that is none.  At most max bytes are shown.
 */
extern char *walredo_bytes_as_text(const char *bytes, int length, int max);

/*
 * The legend of the classes that some pages have, of which used has one flag
 * for each, and of what is marked.
 */
extern void walredo_draw_legend(StringInfo out, const bool *used,
								bool has_changes, bool has_damage);
extern void walredo_note_classes(const WalredoPageParts *parts, bool *used);

#endif							/* WALREDO_REPORT_PAGE_SVG_H */
