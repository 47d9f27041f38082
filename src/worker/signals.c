/*-------------------------------------------------------------------------
 *
 * signals.c
 *	  Signals to a background worker of walredo.
 *
 * The server's own handlers of SIGTERM do not tell who has sent it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/worker/signals.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "worker/signals.h"

volatile sig_atomic_t walredo_worker_must_end = false;

static volatile sig_atomic_t server_ends = false;

static void
handle_terminate(int signo, siginfo_t * info, void *context)
{
	int			save_errno = errno;

	if (info->si_pid == PostmasterPid)
		server_ends = true;
	walredo_worker_must_end = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

void
walredo_worker_set_signal_handlers(void)
{
	struct sigaction terminate = {
		.sa_sigaction = handle_terminate,
		.sa_flags = SA_RESTART | SA_SIGINFO
	};

	sigemptyset(&terminate.sa_mask);
	(void) sigaction(SIGTERM, &terminate, NULL);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, PG_SIG_IGN);
}

int
walredo_worker_exit_code(void)
{
	return server_ends ? 0 : 1;
}
