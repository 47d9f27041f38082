/*-------------------------------------------------------------------------
 *
 * look.h
 *	  Looking for an answer before sleeping: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/look.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_LOOK_H
#define WALREDO_POOL_LOOK_H

#include "postgres.h"

#include "pool/pipe.h"

/*
 * To be called before a single request is put into a pipe that is connected,
 * while nothing is in flight.  Decides whether this process will look for the
 * answer before it sleeps.  Puts a message into the pipe if the child should
 * look for the request after this one, too.
 */
extern void walredo_look_begin(WalredoPipe *pipe);

/*
 * To be called when the request has been written.  Calls walredo_pipe_read(),
 * at least once, and if there is no answer yet and it is likely to come at
 * once, for some microseconds more.  Returns what walredo_pipe_read() does; if
 * that is false, and the pipe has no failure, the caller should sleep until
 * there is something to read.  An interrupt ends this early, but is left to
 * the caller to be serviced.
 */
extern bool walredo_look_for_answer(WalredoPipe *pipe, char *answer);

/*
 * To be called when the answer has been read, if it was.
 */
extern void walredo_look_end(void);

#endif							/* WALREDO_POOL_LOOK_H */
