/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  Calling functions that may fail because of damaged data.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/attempt.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_ATTEMPT_H
#define WALREDO_PAGE_ATTEMPT_H

#include "postgres.h"

/*
 * Calls a function in a subtransaction.  Returns NULL if it succeeds.  If it
 * fails in a way that says something about the data that it has looked at,
 * returns the error, which is palloc'd in the current memory context.  A
 * cancel, a lack of resources or a conflict with recovery says nothing about
 * the data, and is raised.
 *
 * A failed attempt ends the display of progress, until there is some: see
 * progress.c.
 */
extern ErrorData *walredo_attempt(void (*function) (void *arg), void *arg);

#endif							/* WALREDO_PAGE_ATTEMPT_H */
