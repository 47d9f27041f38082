/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  A backend's part in a pool: private to this room.
 *
 * A process waits for a slot, or has some.  It waits only while it has none.
 * It lets go of all of them when the resource owner that was current at
 * walredo_slot_prepare() ends, if not before.  Each slot belongs to one of the
 * process's pipes, which has its number.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/slots.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_SLOTS_H
#define WALREDO_POOL_SLOTS_H

#include "postgres.h"

#include "pool/pipe.h"
#include "pool/shared.h"

/*
 * One of the pipes that this process uses for its exchanges, one for each that
 * it has at a time, counted from 0.  They live as long as the process; what is
 * in them is for walredo_pipe_reset() to set.
 */
extern WalredoPipe *walredo_slot_pipe(int number);

/*
 * Makes sure that this process has a pool, with a worker.  To be called before
 * walredo_slot_acquire(), in the resource owner that the slot is to belong to.
 * ERROR 53000 if the process cannot have a pool, and XX000 if it has a slot
 * already.
 */
extern void walredo_slot_prepare(void);

/*
 * Gets a slot for a pipe, with a child that serves our database and role, and
 * waits for it if need be, which can be interrupted.  ERROR 53000 if too many
 * backends wait already.
 *
 * Returns FAILURE_NONE if the slot is BUSY.  Returns FAILURE_LAUNCH if the
 * worker could not start a child, and FAILURE_GONE if there was one but it has
 * died since; the slot is ours all the same, in state DEAD or, after a
 * time-out, LAUNCHING or REPLACING.
 */
extern WalredoFailure walredo_slot_acquire(WalredoPipe *pipe);

/*
 * Gets one more slot, for another pipe, if there is an idle child that serves
 * our database and role, and nobody waits for a slot.  Then returns true, and
 * the slot is BUSY.  Otherwise, if there is an empty slot, has the worker start
 * such a child, for whoever comes first when it is ready, at most once in a
 * while.
 *
 * To be called while the process has a slot, or at least has had one since
 * walredo_slot_prepare() in the same resource owner.
 */
extern bool walredo_slot_try(WalredoPipe *pipe);

/*
 * Connects a pipe to the child in its slot, which must be BUSY, by the pipe's
 * deadline.  Returns and raises what walredo_connection_open() does.
 */
extern WalredoFailure walredo_slot_connect(WalredoPipe *pipe);

/*
 * Lets go of a pipe's slot, whose child has answered all that it was sent:
 * num_requests requests with num_records records in all.  The child is kept for
 * other requests.
 */
extern void walredo_slot_release(WalredoPipe *pipe, int num_requests,
								 int num_records);

/*
 * Has the worker kill the child in a pipe's slot if it lives, waits until it is
 * reaped, which can be interrupted, and lets go of the slot.  *end is how the
 * child ended, or that this is not known, if the worker has ended or takes too
 * long.
 */
extern void walredo_slot_await_end(WalredoPipe *pipe, WalredoChildEnd *end);

/*
 * Lets go of a pipe's slot, in whatever state it is.  The child is killed, as
 * it may be in the middle of a request.
 */
extern void walredo_slot_abandon(WalredoPipe *pipe);

#endif							/* WALREDO_POOL_SLOTS_H */
