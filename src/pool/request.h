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
 * Gets a child that requests can be sent to, through the pipe that is returned.
 * That has a failure if there is no child; walredo_exchange_end() is to follow
 * in any case.  ERROR as walredo_slot_prepare() has it.
 */
extern WalredoPipe *walredo_exchange_begin(void);

/*
 * Lets go of the child, and counts the answers.  Of the requests, which are all
 * that have been sent, and perhaps more, the first pipe->in_flight.answered
 * have been answered.  Either those are all that were sent, or the pipe has a
 * failure; then, *end is how the child ended.
 */
extern void walredo_exchange_end(WalredoPipe *pipe,
								 const WalredoRequest *requests,
								 WalredoChildEnd *end);

#endif							/* WALREDO_POOL_REQUEST_H */
