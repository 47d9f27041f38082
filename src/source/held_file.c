/*-------------------------------------------------------------------------
 *
 * held_file.c
 *	  Files that are kept open from one call to the next.
 *
 * A transient file belongs to the subtransaction that has opened it, and is
 * closed at the end of that one at the latest; then its number may become that
 * of another file.  Those who read WAL outlive a subtransaction: a
 * set-returning function can be left in the middle, and its caller can roll
 * back a subtransaction and then continue to fetch.  So a file that is kept has
 * to be given up before the server closes it.  This file knows of all of them,
 * and is told about the end of each subtransaction and transaction.
 *
 * That also closes what is still held at a commit, where the server would warn
 * of a leak.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/held_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "source/held_file.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/*
 * The most files that a session holds.  A statement can read WAL in many places
 * at once, and a session can have no more than some hundred transient files.
 */
#define MAX_HELD_FILES	8

/* The open ones, of which the first was opened last. */
static dlist_head held_files = DLIST_STATIC_INIT(held_files);
static int	nheld = 0;

static void
at_subtransaction(SubXactEvent event, SubTransactionId subid,
				  SubTransactionId parent, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(iter, &held_files)
	{
		WalredoHeldFile *held = dlist_container(WalredoHeldFile, node,
												iter.cur);

		if (held->subid == subid)
			walredo_held_file_close(held);
	}
}

static void
at_transaction(XactEvent event, void *arg)
{
	dlist_mutable_iter iter;

	/* What reads WAL may still run before a commit. */
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE ||
		event == XACT_EVENT_PARALLEL_PRE_COMMIT)
		return;
	dlist_foreach_modify(iter, &held_files)
		walredo_held_file_close(dlist_container(WalredoHeldFile, node,
												iter.cur));
}

static void
at_reset(void *arg)
{
	walredo_held_file_close(arg);
}

WalredoHeldFile *
walredo_held_file_create(void)
{
	static bool is_registered = false;
	WalredoHeldFile *held = palloc0(sizeof(WalredoHeldFile));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	if (!is_registered)
	{
		RegisterSubXactCallback(at_subtransaction, NULL);
		RegisterXactCallback(at_transaction, NULL);
		is_registered = true;
	}
	held->fd = -1;
	callback->func = at_reset;
	callback->arg = held;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return held;
}

void
walredo_held_file_close(WalredoHeldFile *held)
{
	if (held->fd < 0)
		return;
	dlist_delete(&held->node);
	nheld--;
	CloseTransientFile(held->fd);
	held->fd = -1;
}

void
walredo_held_file_take(WalredoHeldFile *held, int fd, const struct stat *st)
{
	walredo_held_file_close(held);
	if (nheld >= MAX_HELD_FILES)
		walredo_held_file_close(dlist_tail_element(WalredoHeldFile, node,
												   &held_files));
	held->fd = fd;
	held->st = *st;
	held->subid = GetCurrentSubTransactionId();
	dlist_push_head(&held_files, &held->node);
	nheld++;
}
