/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  A backend's part in a pool: private to this room.
 *
 * A process has at most one slot at a time, or waits for one.  It lets go of it
 * when the resource owner that was current at walredo_slot_prepare() ends, if
 * not before.
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
 * The pipe that this process uses for all its exchanges.  It lives as long as
 * the process; what is in it is for walredo_pipe_reset() to set.
 */
extern WalredoPipe *walredo_slot_pipe(void);

/*
 * Makes sure that this process has a pool, with a worker.  To be called before
 * walredo_slot_acquire(), in the resource owner that the slot is to belong to.
 * ERROR 53000 if the process cannot have a pool, and XX000 if it has a slot
 * already.
 */
extern void walredo_slot_prepare(void);

/*
 * Gets a slot with a child that serves our database and role, and waits for it
 * if need be, which can be interrupted.  ERROR 53000 if too many backends wait
 * already.
 *
 * Returns FAILURE_NONE if the slot is BUSY.  Returns FAILURE_LAUNCH if the
 * worker could not start a child, and FAILURE_GONE if there was one but it has
 * died since; the slot is ours all the same, in state DEAD or, after a
 * time-out, LAUNCHING or REPLACING.
 */
extern WalredoFailure walredo_slot_acquire(void);

/*
 * Connects a pipe to the child in our slot, which must be BUSY, by the pipe's
 * deadline.  Returns and raises what walredo_connection_open() does.
 */
extern WalredoFailure walredo_slot_connect(WalredoPipe *pipe);

/*
 * Lets go of our slot, whose child has answered all that it was sent:
 * num_requests requests with num_records records in all.  The child is kept for
 * other requests.
 */
extern void walredo_slot_release(int num_requests, int num_records);

/*
 * Has the worker kill our child if it lives, waits until it is reaped, which
 * can be interrupted, and lets go of our slot.  *end is how the child ended,
 * or that this is not known, if the worker has ended or takes too long.
 */
extern void walredo_slot_await_end(WalredoChildEnd *end);

/*
 * Lets go of our slot, in whatever state it is, and leaves the queue of those
 * who wait for one.  The child is killed, as it may be in the middle of a
 * request.  Does nothing if we have no slot and do not wait.
 */
extern void walredo_slot_abandon(void);

#endif							/* WALREDO_POOL_SLOTS_H */
