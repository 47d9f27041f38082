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
 * Makes sure that this process has a pool, with a worker.  ERROR 53000 if it
 * cannot have one, and XX000 if it has a slot already.
 */
extern void walredo_slot_prepare(void);

/*
 * Gets a slot with a child that serves our database and role, and waits for it
 * if need be, which can be interrupted.  FAILURE_LAUNCH if the worker could not
 * start a child, and FAILURE_GONE if there was one but it has died since; the
 * slot is ours all the same, in state DEAD or, after a time-out, LAUNCHING or
 * REPLACING.
 */
extern WalredoFailure walredo_slot_acquire(void);

/* Connects a pipe, which has a deadline, to the child in our slot. */
extern WalredoFailure walredo_slot_connect(WalredoPipe *pipe);

/*
 * These let go of our slot.  release is for a child that has answered all of
 * its requests, num_requests of them with num_records records, and is there for
 * the next one.  await_end has the child killed if it lives, and gives how it
 * ended; that can be interrupted.  abandon is for whatever state the slot is
 * in: the child may be in the middle of a request, so it must not live.  It may
 * be called when there is no slot, too, and leaves the queue of those who wait.
 */
extern void walredo_slot_release(int num_requests, int num_records);
extern void walredo_slot_await_end(WalredoChildEnd *end);
extern void walredo_slot_abandon(void);

#endif							/* WALREDO_POOL_SLOTS_H */
