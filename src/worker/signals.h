/*-------------------------------------------------------------------------
 *
 * signals.h
 *	  Signals to a background worker of walredo.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/worker/signals.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_WORKER_SIGNALS_H
#define WALREDO_WORKER_SIGNALS_H

#include "postgres.h"

#include <signal.h>

/*
 * Set by SIGTERM: the worker is to exit, with the code that
 * walredo_worker_exit_code() says.
 */
extern volatile sig_atomic_t walredo_worker_must_end;

/*
 * Handles SIGTERM as above, has SIGHUP set ConfigReloadPending, and ignores
 * SIGINT, which cancels a query, as a worker has none.  To be called before
 * BackgroundWorkerUnblockSignals().
 */
extern void walredo_worker_set_signal_handlers(void);

/*
 * The code with which a worker exits after SIGTERM.  If that is from the
 * postmaster, the server is being shut down, and the code is 0.  If anyone else
 * has sent it, the server still needs the worker, and a code of 1 makes the
 * postmaster start it again.
 */
extern int	walredo_worker_exit_code(void);

#endif							/* WALREDO_WORKER_SIGNALS_H */
