/*-------------------------------------------------------------------------
 *
 * peer.h
 *	  Pages of another server of the same system, such as a standby.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/peer.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_PEER_H
#define WALREDO_REPAIR_PEER_H

#include "postgres.h"

#include "record/tag.h"

typedef struct WalredoPeer WalredoPeer;

/*
 * Connects to a server, which is named by a libpq connection string, and checks
 * that it has the system identifier of this one.  The result lives in the
 * current memory context, and is disconnected when that is reset or deleted.
 *
 * ERROR 08001 if it cannot be connected to, 55000 if it is of another system,
 * or on another timeline, on which its pages may have other changes.
 */
extern WalredoPeer *walredo_peer_connect(const char *conninfo);

/*
 * Reads a page from the file that it is in on that server, as which it may lag
 * behind what the server has in its buffers; its LSN tells what it is as of.
 * Returns NULL if the file has no such block, or if it is all zeroes or broken.
 * The result is palloc'd in the current memory context.
 *
 * ERROR 08006 if the server does not answer as it should.
 */
extern bytea *walredo_peer_page(WalredoPeer *peer, const WalredoTag *tag);

/*
 * The LSN up to which the other server's files have all changes: where replay
 * would have begun, had it crashed when it was connected to.
 */
extern XLogRecPtr walredo_peer_redo_lsn(const WalredoPeer *peer);

#endif							/* WALREDO_REPAIR_PEER_H */
