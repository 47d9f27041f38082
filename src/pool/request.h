/*-------------------------------------------------------------------------
 *
 * request.h
 *	  An exchange of requests and answers with one child: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/request.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_REQUEST_H
#define WALREDO_POOL_REQUEST_H

#include "postgres.h"

#include "pool/client.h"
#include "pool/pipe.h"
#include "pool/shared.h"

/*
 * Begins an exchange: acquires a slot, and returns the process's pipe,
 * connected to the slot's child.  If there is no child to send requests to,
 * the pipe has a failure.  In either case the caller must call
 * walredo_exchange_end().  Raises what walredo_slot_prepare(),
 * walredo_slot_acquire() and walredo_slot_connect() do; then the slot is let
 * go when the resource owner ends.
 */
extern WalredoPipe *walredo_exchange_begin(void);

/*
 * Begins another exchange, besides those that the process has.  number is that
 * of the process's pipe to use, which none of them may use already;
 * walredo_exchange_begin() uses number 0.  Returns NULL if there is no child
 * that is free: see walredo_slot_try().
 */
extern WalredoPipe *walredo_exchange_try(int number);

/*
 * Ends an exchange: lets go of the slot, and counts the answers.
 *
 * requests is an array of requests, which may be empty if the pipe has a
 * failure.  As many as pipe->in_flight
 * says have been sent and answered, counted from the first; there may be more,
 * which were not sent.  If the pipe has no failure, all that were sent must
 * have been answered.  If it has one, *end is set to how the child ended;
 * otherwise *end is not set.
 */
extern void walredo_exchange_end(WalredoPipe *pipe,
								 const WalredoRequest *requests,
								 WalredoChildEnd *end);

#endif							/* WALREDO_POOL_REQUEST_H */
