/*-------------------------------------------------------------------------
 *
 * hole.h
 *	  Page images from whose middle live contents were left out.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/hole.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_HOLE_H
#define WALREDO_PAGE_HOLE_H

#include "postgres.h"

#include "common/relpath.h"

/*
 * Does a page of a fork keep contents between pd_lower and pd_upper, so that
 * an image of it that was logged with a hole lacks them?  page is BLCKSZ bytes
 * that may be anything.
 */
extern bool walredo_hole_has_contents(ForkNumber forknum, const char *page);

#endif							/* WALREDO_PAGE_HOLE_H */
