/*-------------------------------------------------------------------------
 *
 * redo.h
 *	  Replay of records on one page, inside the wal-redo child.
 *
 * All functions raise an ERROR for whatever is wrong with a request, and an
 * ERROR ends the child.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/redo.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHILD_REDO_H
#define WALREDO_CHILD_REDO_H

#include "postgres.h"

#include "proto/proto.h"

/*
 * Makes everything that replay needs and that takes system calls which the
 * sandbox does not allow.  To be called once, before the process enters it.
 */
extern void walredo_redo_startup(void);

/*
 * The functions that handle the messages, one for each line of the table in
 * proto.h:
 *
 *	extern const char *walredo_redo_NAME(const WalredoMessage *message);
 *
 * They return the answer, of BLCKSZ bytes, which stays valid until the next
 * call, or NULL if the message is not answered.  Type, length and order of the
 * message have been checked.
 */
#define REDO_FUNCTION(symbol, type, name, payload, order, answered) \
	extern const char *walredo_redo_##name(const WalredoMessage *message);
WALREDO_MESSAGES(REDO_FUNCTION)
#undef REDO_FUNCTION

#endif							/* WALREDO_CHILD_REDO_H */
