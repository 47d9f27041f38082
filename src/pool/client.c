/*-------------------------------------------------------------------------
 *
 * client.c
 *	  A backend's way to a wal-redo child.
 *
 * The backend takes a slot of the pool, and with it a child that nobody else
 * uses meanwhile; the worker starts one if need be.  Then it talks to the
 * child directly, through ends of the child's pipes that it got from the
 * worker and keeps for as long as the child lives.
 *
 * A child is believed one thing only: that it answers with BLCKSZ bytes.  If
 * it answers with more or less, or too late, or if the backend stops listening
 * in the middle of a request for whatever reason, the child is doomed, its
 * pipes are never read again, and the slot gets another child.  So nobody can
 * ever receive what was meant for somebody else.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/client.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/parallel.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pool/saved_request.h"
#include "pool/client.h"
#include "pool/shared.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "proto/proto.h"
#include "storage/dsm.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * A request is gathered before it is written: so many bytes, and so many
 * pieces, which are parts of these, or are elsewhere.
 */
#define PIPE_BUFFER_SIZE	65536
#define PIPE_MAX_PIECES		64

/* A shorter piece is copied. */
#define MIN_PIECE_IN_PLACE	256

/*
 * What the pipes of a child are made to hold, if the system lets us.  The more
 * there is in them, the less often the two processes wait for each other.
 */
#define IN_PIPE_SIZE		(256 * 1024)
#define OUT_PIPE_SIZE		(128 * 1024)

/* Requests that are made without letting others have the child in between. */
#define MAX_REQUESTS_AT_ONCE	256

/* How long to wait for room in the worker's queue of callers. */
#define CONNECT_RETRY_MS	1

/*
 * How long the worker may take to kill and reap a child.  Not walredo.timeout:
 * that may be short, and how the child ended is still wanted then.
 */
#define REAP_TIMEOUT_MS		5000

/* How often those who wait for a slot see whether their own worker lives. */
#define WORKER_CHECK_MS		1000

/*
 * A session waits for its own pool while the worker kills the child of an
 * earlier request, or while another of its processes uses the child.
 */
#define PRIVATE_SLOTS		1
#define PRIVATE_WAITERS		(1 + max_worker_processes)

/* The pipes of a child, and what it takes to wait for them. */
typedef struct Connection
{
	uint64		child_number;	/* 0 if there is none */
	int			in_fd;			/* to the child */
	int			out_fd;			/* from the child */
	WaitEventSet *wait_set;
	int			in_position;	/* in wait_set */
	bool		in_writing;		/* wait_set waits for room in the pipe */

	/* For many requests at once. */
	WaitEventSet *write_set;	/* waits for room in the pipe, and no answer */

	/*
	 * Requests that may be sent ahead of their answers.  The answers must fit
	 * into the pipe: a child that waits for room for one would not read on.
	 */
	int			max_unanswered;
} Connection;

/* Why a request came to nothing. */
typedef enum Failure
{
	FAILURE_NONE,
	FAILURE_LAUNCH,				/* there was no child */
	FAILURE_GONE,				/* it closed its pipes */
	FAILURE_PROTOCOL,			/* it wrote what it was not asked for */
	FAILURE_TIMEOUT				/* it took too long */
} Failure;

struct WalredoPipe
{
	Connection *connection;
	TimestampTz deadline;
	int			unanswered;		/* requests that are sent as a whole */
	Failure		failure;		/* once set, nothing more is done */
	uint64		bytes;			/* written so far */
	Size		answer_size;	/* read so far of the answer at hand */
	instr_time	begin;			/* of the wait for a child */
	instr_time	acquired;		/* there was one */

	/* If set, what is written goes there, and not to the connection. */
	void		(*put) (const char *data, Size size, void *arg);
	void	   *put_arg;

	struct iovec pieces[PIPE_MAX_PIECES];
	int			num_pieces;
	Size		used;			/* of buffer */
	char		buffer[PIPE_BUFFER_SIZE];
};

/* The pool that this session uses, and what belongs to it alone. */
static WalredoPool *pool = NULL;
static dsm_segment *private_segment = NULL;

/* The private pool's worker, if it was this process that registered it. */
static BackgroundWorkerHandle *private_worker = NULL;
static bool private_worker_started = false;

static Connection connections[WALREDO_MAX_CHILDREN];
static WalredoPipe *request_pipe = NULL;

/*
 * What this backend has of the pool: at most one of the two is not -1.  It
 * lets go of it when this resource owner ends, if not before.
 */
static int	my_slot = -1;
static int	my_waiter = -1;
static ResourceOwner my_owner = NULL;

static int	last_slot = 0;

static uint32 wait_for_child;
static uint32 wait_for_answer;

/* ----------------------------------------------------------------
 *		Pools
 * ----------------------------------------------------------------
 */

static void abandon(void);
static void close_connection(Connection *connection);
static void release_resources(ResourceReleasePhase phase, bool is_commit,
							  bool is_top_level, void *arg);

/*
 * Says in our private pool that its worker must end, and that nobody can use
 * the pool any more.  All who wait for a child are woken up: if the worker has
 * never come to life, nobody else tells them.
 */
static void
request_end_of_pool(void)
{
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->end_requested = true;
	walredo_pool_wake_worker(pool);
	walredo_pool_wake_backends(pool);
	LWLockRelease(&pool->lock);
}

/*
 * Waits until the worker of our private pool, which another process of this
 * session has registered and which was told to end, has come to its end.  One
 * that has not come to life may never do so, and will end at once if it does.
 */
static void
wait_for_private_worker(void)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REAP_TIMEOUT_MS);

	LWLockAcquire(&pool->lock, LW_SHARED);
	while (pool->worker_started && !pool->worker_ended &&
		   GetCurrentTimestamp() < deadline)
	{
		LWLockRelease(&pool->lock);
		pg_usleep(1000L);
		LWLockAcquire(&pool->lock, LW_SHARED);
	}
	LWLockRelease(&pool->lock);
}

/*
 * Leaves the private pool; with is_dead, nobody else can use it any more
 * either.  The last to leave has its worker end, which kills the child, and
 * waits for that, so that nothing of the session's is left when it has ended.
 */
static void
leave_private_pool(bool is_dead)
{
	bool		is_last;

	/* The next pool numbers its children from the start. */
	for (int i = 0; i < PRIVATE_SLOTS; i++)
		close_connection(&connections[i]);

	walredo_directory_lock();
	is_last = walredo_directory_leave(dsm_segment_handle(private_segment));
	if (is_dead)
		walredo_directory_forget(dsm_segment_handle(private_segment));
	walredo_directory_unlock();

	if (is_last || is_dead)
	{
		request_end_of_pool();
		if (private_worker != NULL)
		{
			TerminateBackgroundWorker(private_worker);
			(void) WaitForBackgroundWorkerShutdown(private_worker);
		}
		else
			wait_for_private_worker();
	}
	if (private_worker != NULL)
		pfree(private_worker);
	private_worker = NULL;
	walredo_stats_attach(NULL);
	dsm_detach(private_segment);
	private_segment = NULL;
	pool = NULL;
}

static void
client_exit(int code, Datum arg)
{
	abandon();
	if (private_segment != NULL)
		leave_private_pool(false);
}

/* The process ID of the backend that this session is known by. */
static pid_t
session_pid(void)
{
	if (IsParallelWorker() && MyProc->lockGroupLeader != NULL)
		return MyProc->lockGroupLeader->pid;
	return MyProcPid;
}

/*
 * Makes a pool for this session alone: one slot in a dynamic segment, and a
 * worker of its own, which need not have started yet.  False if there can be no
 * further worker.  If the server has no room for a further segment, that is an
 * ERROR, or with quietly, false as well.
 */
static bool
make_private_pool(bool quietly)
{
	dsm_segment *segment;
	BackgroundWorker worker;
	MemoryContext old_context;
	bool		registered;

	segment = dsm_create(walredo_pool_shared_size(PRIVATE_SLOTS,
												  PRIVATE_WAITERS),
						 quietly ? DSM_CREATE_NULL_IF_MAXSEGMENTS : 0);
	if (segment == NULL)
		return false;
	dsm_pin_mapping(segment);
	walredo_pool_shared_init(dsm_segment_address(segment), true,
							 PRIVATE_SLOTS, PRIVATE_WAITERS);

	walredo_pool_fill_worker(&worker, session_pid());
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &private_worker);
	MemoryContextSwitchTo(old_context);
	if (!registered)
	{
		private_worker = NULL;
		dsm_detach(segment);
		return false;
	}
	private_worker_started = false;
	private_segment = segment;
	walredo_directory_enter(session_pid(), dsm_segment_handle(segment));
	return true;
}

/*
 * Takes part in the pool of this session, which is made if there is none.
 * False if it cannot be; quietly is as for make_private_pool().
 */
static bool
join_private_pool(bool quietly)
{
	dsm_handle	handle;

	/*
	 * An error in between releases the lock.  What has been made before it is
	 * in private_segment, or is of no use to anybody and goes with this
	 * process.
	 */
	walredo_directory_lock();
	handle = walredo_directory_find(session_pid());
	if (handle != DSM_HANDLE_INVALID)
	{
		private_segment = dsm_attach(handle);
		if (private_segment != NULL)
		{
			dsm_pin_mapping(private_segment);
			walredo_directory_join(handle);
		}
		else
			walredo_directory_forget(handle);
	}
	if (private_segment != NULL || make_private_pool(quietly))
		pool = dsm_segment_address(private_segment);
	walredo_directory_unlock();
	return pool != NULL;
}

/*
 * True if the worker of our private pool is no more, or was told to end.  One
 * that another process has registered may still be about to start, or may have
 * failed to, which only that process can learn from the server.
 */
static bool
private_worker_is_gone(void)
{
	pid_t		pid;
	bool		ended;

	LWLockAcquire(&pool->lock, LW_SHARED);
	ended = pool->worker_ended || pool->end_requested;
	LWLockRelease(&pool->lock);
	if (ended || private_worker == NULL)
		return ended;
	return GetBackgroundWorkerPid(private_worker, &pid) == BGWH_STOPPED;
}

/* True if the worker of our private pool has not come to life yet. */
static bool
private_worker_is_missing(void)
{
	bool		missing;

	LWLockAcquire(&pool->lock, LW_SHARED);
	missing = !pool->worker_started;
	LWLockRelease(&pool->lock);
	return missing;
}

static void
prepare_pool(void)
{
	static bool first_time = true;

	if (first_time)
	{
		walredo_pool_register_tranche();
		wait_for_child = walredo_wait_event("WalredoChild",
											PG_WAIT_EXTENSION);
		wait_for_answer = walredo_wait_event("WalredoAnswer",
											 WAIT_EVENT_MQ_RECEIVE);
		before_shmem_exit(client_exit, 0);
		RegisterResourceReleaseCallback(release_resources, NULL);
		first_time = false;
	}

	/* Somebody may have terminated our worker. */
	if (private_segment != NULL && private_worker_is_gone())
		leave_private_pool(true);

	if (pool == NULL)
		pool = walredo_pool_in_shmem();
}

static void
attach_pool(void)
{
	pid_t		pid;

	prepare_pool();
	if (pool == NULL && !join_private_pool(false))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not register a background worker for WAL redo"),
				 errhint("Increase max_worker_processes, or add walredo to shared_preload_libraries so that all sessions share one worker.")));
	if (private_worker != NULL && !private_worker_started)
	{
		if (WaitForBackgroundWorkerStartup(private_worker,
										   &pid) != BGWH_STARTED)
		{
			leave_private_pool(true);
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("could not start a background worker for WAL redo"),
					 errhint("More details may be available in the server log.")));
		}
		private_worker_started = true;
	}
	walredo_stats_attach(&pool->stats);
}

void
walredo_pool_expect_requests(void)
{
	if (!walredo_enabled || IsParallelWorker())
		return;
	prepare_pool();

	/* If there is no room for a pool now, there may be when it is needed. */
	if (pool == NULL)
		(void) join_private_pool(true);
}

/* ----------------------------------------------------------------
 *		Slots
 * ----------------------------------------------------------------
 */

/*
 * The names of our database and of a role, for those who look at processes.
 */
static const char *
tenant_title(Oid role)
{
	static char title[WALREDO_TITLE_SIZE];
	static Oid	title_role = InvalidOid;

	if (role != title_role)
	{
		char	   *database_name = get_database_name(MyDatabaseId);
		char	   *role_name = GetUserNameFromId(role, true);

		snprintf(title, sizeof(title), "%s %s",
				 database_name ? database_name : "?",
				 role_name ? role_name : "?");
		title_role = role;
	}
	return title;
}

/*
 * Takes a slot that needs no waiting for.
 *
 * A child that serves this tenant and is idle is taken at once, of several the
 * one used last.  If this tenant's children are all at work, or about to
 * start, it is better to wait: for most requests a child takes less time than
 * another takes to start, and so many callers at once cause one launch.  For
 * those that have to wait long, the worker starts another.  If the tenant has
 * no child at all, one is started, or takes the place of another tenant's, of
 * those the one idle for longest.
 */
static bool
take_slot(Oid database, Oid role, const char *title)
{
	int			usable = WalredoPoolUsableSlots(pool);
	int			idle = -1;
	int			empty = -1;
	int			oldest = -1;
	bool		at_work = false;
	int			found;
	WalredoSlot *slot;

	Assert(LWLockHeldByMe(&pool->lock));

	for (int i = 0; i < usable; i++)
	{
		bool		is_ours;

		slot = &pool->slots[i];
		is_ours = (slot->database == database && slot->role == role);
		if (slot->state == SLOT_IDLE && is_ours)
		{
			if (idle < 0 || i == last_slot)
				idle = i;
		}
		else if (slot->state == SLOT_IDLE)
		{
			if (oldest < 0 ||
				slot->idle_since < pool->slots[oldest].idle_since)
				oldest = i;
		}
		else if (slot->state == SLOT_EMPTY)
		{
			if (empty < 0)
				empty = i;
		}
		else if ((slot->state == SLOT_BUSY || slot->state == SLOT_LAUNCHING) &&
				 is_ours)
			at_work = true;
	}

	if (idle >= 0)
		found = idle;
	else if (at_work || pool->num_waiters > 0)
		return false;
	else if (empty >= 0)
		found = empty;
	else if (oldest >= 0)
		found = oldest;
	else
		return false;

	slot = &pool->slots[found];
	slot->owner_pid = MyProcPid;
	slot->owner_latch = MyLatch;
	if (slot->state == SLOT_IDLE && WalredoSlotServes(slot, database, role))
		slot->state = SLOT_BUSY;
	else
	{
		slot->state = SLOT_LAUNCHING;
		slot->database = database;
		slot->role = role;
		strlcpy(slot->title, title, sizeof(slot->title));
		walredo_pool_wake_worker(pool);
	}
	my_slot = found;
	return true;
}

/* Joins the queue of those who wait for a slot. */
static void
begin_waiting(Oid database, Oid role, const char *title)
{
	WalredoWaiter *waiters = WalredoPoolWaiters(pool);

	Assert(LWLockHeldByMe(&pool->lock));

	for (int i = 0; i < pool->max_waiters; i++)
	{
		if (waiters[i].ticket == 0)
		{
			waiters[i].ticket = ++pool->last_ticket;
			waiters[i].pid = MyProcPid;
			waiters[i].latch = MyLatch;
			waiters[i].database = database;
			waiters[i].role = role;
			strlcpy(waiters[i].title, title, sizeof(waiters[i].title));
			waiters[i].slot = -1;
			waiters[i].since = GetCurrentTimestamp();
			pool->num_waiters++;
			my_waiter = i;

			/* It may have a child to spare for those who wait for long. */
			walredo_pool_wake_worker(pool);
			return;
		}
	}

	LWLockRelease(&pool->lock);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("too many sessions wait for a wal-redo child")));
}

/* Leaves the queue, with the slot that was given to us, if any. */
static void
end_waiting(void)
{
	WalredoWaiter *waiter = &WalredoPoolWaiters(pool)[my_waiter];

	Assert(LWLockHeldByMe(&pool->lock));

	my_slot = waiter->slot;
	if (my_slot < 0)
		pool->num_waiters--;
	waiter->ticket = 0;
	my_waiter = -1;
}

/*
 * Waits for the latch, up to the deadline if there is one.
 */
static void
wait_latch(uint32 wait_event_info, TimestampTz deadline)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;

	if (deadline != 0)
	{
		events |= WL_TIMEOUT;
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												  deadline) + 1;
	}
	(void) WaitLatch(MyLatch, events, timeout, wait_event_info);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Gets a slot with a child that is ours.  FAILURE_LAUNCH if the worker could
 * not start one, and FAILURE_GONE if there was one but it has died since; the
 * slot is ours all the same, in state DEAD or, after a time-out, LAUNCHING.
 */
static Failure
acquire_slot(void)
{
	Oid			database = MyDatabaseId;
	Oid			role = GetUserId();
	const char *title = tenant_title(role);
	TimestampTz deadline;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (!take_slot(database, role, title))
		begin_waiting(database, role, title);
	LWLockRelease(&pool->lock);

	/*
	 * There is no limit to this wait: others may have long work to do.  But
	 * nobody does any while the worker has not come to life, and if it does
	 * not in the time that a child may take to start, it is not waited for
	 * any longer.  This is looked at now and then, since nobody would say so
	 * if whoever else waits for the worker gives up.
	 */
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   walredo_timeout);
	while (my_waiter >= 0)
	{
		TimestampTz now = GetCurrentTimestamp();

		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (WalredoPoolWaiters(pool)[my_waiter].slot >= 0)
			end_waiting();
		LWLockRelease(&pool->lock);
		if (my_waiter < 0)
			break;
		if (private_segment != NULL &&
			(private_worker_is_gone() ||
			 (now >= deadline && private_worker_is_missing())))
		{
			/* So is the pool; whoever has the child will not pass it on. */
			abandon();
			leave_private_pool(true);
			attach_pool();
			return acquire_slot();
		}
		wait_latch(wait_for_child,
				   private_segment == NULL ? 0 :
				   TimestampTzPlusMilliseconds(now, WORKER_CHECK_MS));
	}

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   walredo_timeout);
	for (;;)
	{
		WalredoSlotState state;
		bool		launch_failed;

		LWLockAcquire(&pool->lock, LW_SHARED);
		state = pool->slots[my_slot].state;
		launch_failed = pool->slots[my_slot].launch_failed;
		LWLockRelease(&pool->lock);

		if (state == SLOT_BUSY)
			return FAILURE_NONE;
		if (state == SLOT_DEAD)
			return launch_failed ? FAILURE_LAUNCH : FAILURE_GONE;
		if (GetCurrentTimestamp() >= deadline ||
			(private_segment != NULL && private_worker_is_gone()))
			return FAILURE_LAUNCH;
		wait_latch(wait_for_child, deadline);
	}
}

/* The child has answered, and is there for the next request. */
static void
release_slot(int num_requests, int num_records)
{
	WalredoSlot *slot = &pool->slots[my_slot];
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_BUSY)
	{
		slot->state = SLOT_IDLE;
		slot->idle_since = slot->last_redo_at = now;
		slot->requests += num_requests;
		slot->records += num_records;
	}
	else
	{
		/* It died since. */
		Assert(slot->state == SLOT_DEAD);
		slot->state = SLOT_EMPTY;
	}
	last_slot = my_slot;
	my_slot = -1;
	walredo_pool_slot_free(pool, last_slot);
	LWLockRelease(&pool->lock);
}

/*
 * Lets go of what we have of the pool, in whatever state it is.  A child in
 * the middle of a request must not live.  Safe to call at any time.
 */
static void
abandon(void)
{
	if (my_waiter < 0 && my_slot < 0)
		return;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (my_waiter >= 0)
		end_waiting();
	if (my_slot >= 0)
	{
		int			slotno = my_slot;
		WalredoSlot *slot = &pool->slots[slotno];

		my_slot = -1;
		if (slot->state == SLOT_DEAD)
		{
			slot->state = SLOT_EMPTY;
			walredo_pool_slot_free(pool, slotno);
		}
		else
		{
			slot->state = SLOT_DOOMED;
			slot->kill_cause = STAT_KILLS_FAILURE;
			slot->owner_pid = 0;
			slot->owner_latch = NULL;
			walredo_pool_wake_worker(pool);
		}
	}
	LWLockRelease(&pool->lock);
}

/*
 * A request that is under way when its transaction or subtransaction ends was
 * given up: by an error, or because the query was cancelled.
 */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_BEFORE_LOCKS ||
		CurrentResourceOwner != my_owner)
		return;
	if (my_slot >= 0 || my_waiter >= 0)
		walredo_count(STAT_ERRORS_CANCEL, 1);
	abandon();
	my_owner = NULL;
}

/*
 * Has the worker kill our child, and waits until it is reaped.  Copies the
 * slot as it is then, and lets it go.  False if there is no worker any more.
 */
static bool
await_reaping(WalredoSlot *end)
{
	WalredoSlot *slot = &pool->slots[my_slot];
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REAP_TIMEOUT_MS);

	for (;;)
	{
		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		if (slot->state == SLOT_DEAD)
			break;
		if (slot->state != SLOT_DOOMED)
		{
			slot->state = SLOT_DOOMED;
			slot->kill_cause = STAT_KILLS_FAILURE;
			walredo_pool_wake_worker(pool);
		}
		LWLockRelease(&pool->lock);

		/* A worker that has not come to life has no child to kill. */
		if (GetCurrentTimestamp() >= deadline ||
			(private_segment != NULL &&
			 (private_worker_is_gone() || private_worker_is_missing())))
		{
			abandon();
			return false;
		}
		wait_latch(wait_for_child, deadline);
	}

	*end = *slot;
	slot->state = SLOT_EMPTY;
	walredo_pool_slot_free(pool, my_slot);
	my_slot = -1;
	LWLockRelease(&pool->lock);
	return true;
}

/* ----------------------------------------------------------------
 *		Pipes
 * ----------------------------------------------------------------
 */

static void
close_connection(Connection *connection)
{
	if (connection->child_number == 0)
		return;
	connection->child_number = 0;
	if (connection->wait_set != NULL)
		FreeWaitEventSet(connection->wait_set);
	connection->wait_set = NULL;
	if (connection->write_set != NULL)
		FreeWaitEventSet(connection->write_set);
	connection->write_set = NULL;
	close(connection->in_fd);
	close(connection->out_fd);
	ReleaseExternalFD();
	ReleaseExternalFD();
}

/*
 * Asks the worker for the pipes of the child in our slot.  fd is a socket that
 * the caller closes.
 */
static Failure
ask_worker(int fd, TimestampTz deadline, uint64 *number, int fds[2])
{
	struct sockaddr_un addr;
	struct ucred peer;
	socklen_t	size = sizeof(peer);
	char		name[sizeof(pool->socket_name)];
	pid_t		worker_pid;

	LWLockAcquire(&pool->lock, LW_SHARED);
	strlcpy(name, pool->socket_name, sizeof(name));
	worker_pid = pool->worker_pid;
	LWLockRelease(&pool->lock);

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	memcpy(addr.sun_path + 1, name, strlen(name));
	while (connect(fd, (struct sockaddr *) &addr,
				   offsetof(struct sockaddr_un, sun_path) + 1 +
				   strlen(name)) != 0)
	{
		/* EAGAIN: its queue is full. */
		if (errno != EAGAIN && errno != EINTR)
			return FAILURE_GONE;
		if (GetCurrentTimestamp() >= deadline)
			return FAILURE_TIMEOUT;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(CONNECT_RETRY_MS * 1000L);
	}

	/* It must be our own worker that took the call. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
		peer.uid != geteuid() || peer.pid != worker_pid)
		return FAILURE_GONE;

	while (!walredo_receive_fds(fd, number, sizeof(*number), fds, 2))
	{
		TimestampTz now;
		int			rc;

		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			return FAILURE_GONE;
		now = GetCurrentTimestamp();
		if (now >= deadline)
			return FAILURE_TIMEOUT;
		rc = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE |
							   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, fd,
							   TimestampDifferenceMilliseconds(now,
															   deadline) + 1,
							   wait_for_child);
		if (rc & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		errno = 0;
	}
	return FAILURE_NONE;
}

/*
 * Makes sure that we have the pipes of the child in our slot.
 */
static Failure
connect_child(Connection *connection, TimestampTz deadline)
{
	uint64		child_number = pool->slots[my_slot].child_number;
	uint64		number;
	int			fds[2];
	int			fd;
	volatile Failure failure;

	if (connection->child_number == child_number && child_number != 0)
		return FAILURE_NONE;
	close_connection(connection);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create socket: %m")));
	PG_TRY();
	{
		failure = ask_worker(fd, deadline, &number, fds);
	}
	PG_FINALLY();
	{
		close(fd);
	}
	PG_END_TRY();
	if (failure != FAILURE_NONE)
		return failure;

	/* From here on close_connection() knows what to close. */
	connection->child_number = number;
	connection->in_fd = fds[0];
	connection->out_fd = fds[1];
	ReserveExternalFD();
	ReserveExternalFD();
	connection->wait_set = walredo_create_wait_event_set(4);
	AddWaitEventToSet(connection->wait_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(connection->wait_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(connection->wait_set, WL_SOCKET_READABLE,
					  connection->out_fd, NULL, NULL);

	/* A writing end is never readable; this waits for it to be broken. */
	connection->in_position =
		AddWaitEventToSet(connection->wait_set, WL_SOCKET_READABLE,
						  connection->in_fd, NULL, NULL);
	connection->in_writing = false;

	connection->write_set = walredo_create_wait_event_set(3);
	AddWaitEventToSet(connection->write_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(connection->write_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(connection->write_set, WL_SOCKET_WRITEABLE,
					  connection->in_fd, NULL, NULL);

	/* There is a limit for each user, beyond which pipes stay as they are. */
	(void) fcntl(connection->in_fd, F_SETPIPE_SZ, IN_PIPE_SIZE);
	(void) fcntl(connection->out_fd, F_SETPIPE_SZ, OUT_PIPE_SIZE);
	connection->max_unanswered =
		Max(fcntl(connection->out_fd, F_GETPIPE_SZ) / BLCKSZ - 1, 1);

	return number == child_number ? FAILURE_NONE : FAILURE_GONE;
}

/*
 * Waits until the child can be written to, while answers may come in that
 * nobody reads yet.  As wait_pipe() otherwise.
 */
static bool
wait_to_write(WalredoPipe *pipe)
{
	WaitEvent	event;
	long		timeout;

	timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											  pipe->deadline);
	if (timeout <= 0)
	{
		pipe->failure = FAILURE_TIMEOUT;
		return false;
	}
	if (WaitEventSetWait(pipe->connection->write_set, timeout, &event, 1,
						 wait_for_answer) == 1 &&
		(event.events & WL_LATCH_SET) != 0)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * Waits until the child can be written to, if writing, or has written
 * something.  Returns false, with the failure set, if it took too long.  The
 * caller learns from its next read or write whether the child is gone.
 */
static bool
wait_pipe(WalredoPipe *pipe, bool writing)
{
	Connection *connection = pipe->connection;
	WaitEvent	events[4];
	long		timeout;
	int			nevents;

	if (connection->in_writing != writing)
	{
		ModifyWaitEvent(connection->wait_set, connection->in_position,
						writing ? WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE,
						NULL);
		connection->in_writing = writing;
	}

	timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											  pipe->deadline);
	if (timeout <= 0)
	{
		pipe->failure = FAILURE_TIMEOUT;
		return false;
	}
	nevents = WaitEventSetWait(connection->wait_set, timeout, events,
							   lengthof(events), wait_for_answer);
	for (int i = 0; i < nevents; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		else if (writing && events[i].pos != connection->in_position)
		{
			char		byte;

			/* It is gone, or it answers before it was asked. */
			pipe->failure = read(connection->out_fd, &byte, 1) == 0 ?
				FAILURE_GONE : FAILURE_PROTOCOL;
			return false;
		}
		else if (!writing && events[i].pos == connection->in_position)
		{
			/* It listens no more, so there may be no end to waiting. */
			pipe->failure = FAILURE_GONE;
			return false;
		}
	}
	return true;
}

/*
 * Writes what can be written without waiting.  True if nothing is left.
 */
static bool
pipe_write(WalredoPipe *pipe)
{
	struct iovec *piece = pipe->pieces;
	struct iovec *end = pipe->pieces + pipe->num_pieces;

	if (pipe->put != NULL)
	{
		for (; piece < end; piece++)
			pipe->put(piece->iov_base, piece->iov_len, pipe->put_arg);
	}

	while (piece < end && pipe->failure == FAILURE_NONE)
	{
		ssize_t		n = writev(pipe->connection->in_fd, piece, end - piece);

		if (n >= 0)
		{
			pipe->bytes += n;
			for (; piece < end && n >= piece->iov_len; piece++)
				n -= piece->iov_len;
			if (n > 0)
			{
				piece->iov_base = (char *) piece->iov_base + n;
				piece->iov_len -= n;
			}
		}
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
		{
			pipe->num_pieces = end - piece;
			memmove(pipe->pieces, piece,
					pipe->num_pieces * sizeof(struct iovec));
			return false;
		}
		else if (errno != EINTR)
			pipe->failure = FAILURE_GONE;
	}
	pipe->num_pieces = 0;
	pipe->used = 0;
	return true;
}

/* Writes all pieces, and forgets them. */
static void
pipe_flush(WalredoPipe *pipe)
{
	while (!pipe_write(pipe))
	{
		if (pipe->unanswered > 0)
			(void) wait_to_write(pipe);
		else
			(void) wait_pipe(pipe, true);
	}
}

/* Adds a piece, or makes the last one longer if this one follows it. */
static inline void
add_piece(WalredoPipe *pipe, const char *data, Size size)
{
	struct iovec *next = &pipe->pieces[pipe->num_pieces];

	if (pipe->num_pieces > 0 &&
		(char *) next[-1].iov_base + next[-1].iov_len == data)
	{
		next[-1].iov_len += size;
		return;
	}
	next->iov_base = unconstify(char *, data);
	next->iov_len = size;
	pipe->num_pieces++;
}

bool
walredo_pipe_put(WalredoPipe *pipe, const char *data, Size size)
{
	while (size > 0 && pipe->failure == FAILURE_NONE)
	{
		Size		n = Min(size, PIPE_BUFFER_SIZE - pipe->used);

		if (n == 0 || pipe->num_pieces == PIPE_MAX_PIECES)
		{
			pipe_flush(pipe);
			continue;
		}
		memcpy(pipe->buffer + pipe->used, data, n);
		add_piece(pipe, pipe->buffer + pipe->used, n);
		pipe->used += n;
		data += n;
		size -= n;
	}
	return pipe->failure == FAILURE_NONE;
}

void
walredo_pipe_put_in_place(WalredoPipe *pipe, const char *data, Size size)
{
	if (size < MIN_PIECE_IN_PLACE)
	{
		(void) walredo_pipe_put(pipe, data, size);
		return;
	}
	if (pipe->num_pieces == PIPE_MAX_PIECES)
		pipe_flush(pipe);
	add_piece(pipe, data, size);
}

char *
walredo_pipe_reserve(WalredoPipe *pipe, Size size)
{
	char	   *result;

	Assert(size <= WALREDO_PIPE_MAX_RESERVE);

	/* After a failure this goes on emptying the buffer. */
	if (size > PIPE_BUFFER_SIZE - pipe->used ||
		pipe->num_pieces == PIPE_MAX_PIECES)
		pipe_flush(pipe);
	result = pipe->buffer + pipe->used;
	add_piece(pipe, result, size);
	pipe->used += size;
	return result;
}

void
walredo_request_write(const WalredoRequest *request,
					  void (*put) (const char *data, Size size, void *arg),
					  void *put_arg)
{
	WalredoPipe *pipe = palloc(sizeof(WalredoPipe));

	pipe->connection = NULL;
	pipe->failure = FAILURE_NONE;
	pipe->unanswered = 0;
	pipe->num_pieces = 0;
	pipe->used = 0;
	pipe->put = put;
	pipe->put_arg = put_arg;
	request->send(pipe, request->arg);
	pipe_flush(pipe);
	pfree(pipe);
}

/*
 * Reads what there is of an answer, and if it is the last one, sees to it that
 * there is nothing more.  True if the answer, of BLCKSZ bytes, is whole.
 */
static bool
pipe_read(WalredoPipe *pipe, char *answer)
{
	while (pipe->failure == FAILURE_NONE)
	{
		char		extra;
		struct iovec iov[2] = {
			{answer + pipe->answer_size, BLCKSZ - pipe->answer_size},
			{&extra, 1}
		};
		ssize_t		n = readv(pipe->connection->out_fd, iov,
							  pipe->unanswered > 1 ? 1 : 2);

		if (n > 0)
		{
			pipe->answer_size += n;
			if (pipe->answer_size > BLCKSZ)
				pipe->failure = FAILURE_PROTOCOL;
			if (pipe->answer_size == BLCKSZ)
			{
				pipe->answer_size = 0;
				pipe->unanswered--;
				return true;
			}
		}
		else if (n == 0)
			pipe->failure = FAILURE_GONE;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return false;
		else if (errno != EINTR)
			pipe->failure = FAILURE_GONE;
	}
	return false;
}

/* The child has time from now. */
static void
set_deadline(WalredoPipe *pipe)
{
	pipe->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 walredo_timeout);
}

/* ----------------------------------------------------------------
 *		Requests
 * ----------------------------------------------------------------
 */

/*
 * True if the child's end may have had nothing to do with what it was asked
 * for: it was killed from outside, or went with its worker; or what earlier
 * requests have left in it was the reason, since redo of a broken record may
 * write anywhere.  A child that has answered nothing yet has nothing of them.
 */
static bool
is_accident(Failure failure, const WalredoSlot *end)
{
	if (failure != FAILURE_GONE && failure != FAILURE_LAUNCH)
		return false;
	if (end->worker_ended)
		return true;
	if (end->launch_failed || end->was_killed)
		return false;
	return end->requests > 0 ||
		(WIFSIGNALED(end->exit_status) &&
		 (WTERMSIG(end->exit_status) == SIGKILL ||
		  WTERMSIG(end->exit_status) == SIGTERM));
}

/*
 * How the child ended, and its last words, for a DETAIL.
 */
static char *
describe_end(const WalredoSlot *end)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (end->launch_failed)
		appendStringInfoString(&buf, "The child did not start.");
	else if (end->was_killed)
		appendStringInfoString(&buf, "The child was killed.");
	else if (WIFSIGNALED(end->exit_status))
		appendStringInfo(&buf, "The child was terminated by signal %d: %s.",
						 WTERMSIG(end->exit_status),
						 pg_strsignal(WTERMSIG(end->exit_status)));
	else
		appendStringInfo(&buf, "The child exited with exit code %d.",
						 WEXITSTATUS(end->exit_status));

	if (end->stderr_tail[0] != '\0')
	{
		appendStringInfo(&buf, " Its last words: %s", end->stderr_tail);
		while (buf.len > 0 && buf.data[buf.len - 1] == '\n')
			buf.data[--buf.len] = '\0';
	}
	return buf.data;
}

static void
report_failure(const WalredoRequest *request, Failure failure,
			   const WalredoSlot *end)
{
	const char *message = NULL;

	switch (failure)
	{
		case FAILURE_NONE:
			break;
		case FAILURE_LAUNCH:
			message = "could not start a wal-redo child";
			break;
		case FAILURE_GONE:
			message = "wal-redo child failed";
			break;
		case FAILURE_PROTOCOL:
			message = "wal-redo child gave an invalid answer";
			break;
		case FAILURE_TIMEOUT:
			message = "wal-redo child did not answer in time";
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg_internal("%s", _(message)),
			 errdetail("%s %s", request->describe(request->arg),
					   describe_end(end)),
			 failure == FAILURE_TIMEOUT ?
			 errhint("The limit is set by walredo.timeout.") : 0));
}

/* Which errors a failure counts as. */
static const WalredoCounter failure_counters[] = {
	[FAILURE_LAUNCH] = STAT_ERRORS_LAUNCH,
	[FAILURE_GONE] = STAT_ERRORS_CHILD,
	[FAILURE_PROTOCOL] = STAT_ERRORS_PROTOCOL,
	[FAILURE_TIMEOUT] = STAT_ERRORS_TIMEOUT
};

/*
 * Counts requests that were answered, which took the time given, each an
 * equal part of it.
 */
static void
count_answers(const WalredoRequest *requests, int nrequests,
			  instr_time wait_time, instr_time redo_time)
{
	uint64		redo_us = INSTR_TIME_GET_MICROSEC(redo_time);

	if (nrequests == 0)
		return;
	walredo_count(STAT_PAGES, nrequests);
	walredo_count(STAT_BYTES, request_pipe->bytes);
	walredo_count_value(STAT_WAIT_TIME, INSTR_TIME_GET_MICROSEC(wait_time));
	for (int i = 0; i < nrequests; i++)
	{
		if (requests[i].num_records == 0)
			continue;
		walredo_count(STAT_REQUESTS, 1);
		walredo_count(STAT_RECORDS, requests[i].num_records);
		walredo_count_value(STAT_REDO_TIME, redo_us / nrequests);
		walredo_count_value(STAT_REQUEST_RECORDS, requests[i].num_records);
		walredo_count_value(STAT_REQUEST_BYTES,
							request_pipe->bytes / nrequests);
	}
}

/*
 * Gets a child that requests can be sent to, unless the pipe has a failure
 * then.  Either way, end_exchange() is to follow.
 */
static void
begin_exchange(WalredoPipe *pipe)
{
	char		byte;
	ssize_t		n;

	attach_pool();
	if (my_slot >= 0 || my_waiter >= 0)
		elog(ERROR, "a wal-redo child is in use already");
	my_owner = CurrentResourceOwner;

	pipe->num_pieces = 0;
	pipe->used = 0;
	pipe->bytes = 0;
	pipe->unanswered = 0;
	pipe->answer_size = 0;
	INSTR_TIME_SET_CURRENT(pipe->begin);
	pipe->failure = acquire_slot();
	INSTR_TIME_SET_CURRENT(pipe->acquired);
	if (pipe->failure != FAILURE_NONE)
		return;

	pipe->connection = &connections[my_slot];
	set_deadline(pipe);
	pipe->failure = connect_child(pipe->connection, pipe->deadline);
	if (pipe->failure != FAILURE_NONE)
		return;

	/* Nothing may be left over from before. */
	n = read(pipe->connection->out_fd, &byte, 1);
	if (n >= 0)
		pipe->failure = n == 0 ? FAILURE_GONE : FAILURE_PROTOCOL;
}

/*
 * Lets go of the child, after the first of the requests have been answered:
 * all that were sent, or the pipe has a failure.  Then *end is how the child
 * ended.
 */
static void
end_exchange(WalredoPipe *pipe, const WalredoRequest *requests, int answered,
			 WalredoSlot *end)
{
	instr_time	wait_time = pipe->acquired;
	instr_time	redo_time;
	int			num_records = 0;

	for (int i = 0; i < answered; i++)
		num_records += requests[i].num_records;
	if (pipe->failure == FAILURE_NONE && !requests[0].is_saved)
		release_slot(answered, num_records);
	else if (pipe->failure == FAILURE_NONE)
		abandon();				/* who knows what else it was sent */
	else if (!await_reaping(end))
	{
		memset(end, 0, sizeof(*end));
		end->launch_failed = (private_segment != NULL &&
							  private_worker_is_missing());
		strlcpy(end->stderr_tail, end->launch_failed ?
				"(none, since its worker did not start)" :
				"(unknown, since its worker ended)",
				sizeof(end->stderr_tail));
		end->was_killed = !end->launch_failed;
		end->worker_ended = (private_segment != NULL);
	}

	INSTR_TIME_SET_CURRENT(redo_time);
	INSTR_TIME_SUBTRACT(redo_time, pipe->acquired);
	INSTR_TIME_SUBTRACT(wait_time, pipe->begin);
	count_answers(requests, answered, wait_time, redo_time);

	/* Our own worker may still be about to end; the next is another. */
	if (pipe->failure != FAILURE_NONE && private_segment != NULL &&
		end->worker_ended)
		leave_private_pool(true);
}

/*
 * Has a child answer a request.  If it fails, *end is how the child ended.
 */
static Failure
make_request(const WalredoRequest *request, char *page, WalredoSlot *end)
{
	WalredoPipe *pipe = request_pipe;
	PGAlignedBlock answer;		/* the request may need the page again */

	begin_exchange(pipe);
	if (pipe->failure == FAILURE_NONE)
	{
		request->send(pipe, request->arg);
		pipe_flush(pipe);
		pipe->unanswered = 1;
		while (!pipe_read(pipe, answer.data) &&
			   pipe->failure == FAILURE_NONE)
			(void) wait_pipe(pipe, false);
		if (pipe->failure == FAILURE_NONE)
			memcpy(page, answer.data, BLCKSZ);
	}
	end_exchange(pipe, request, pipe->failure == FAILURE_NONE ? 1 : 0, end);
	return pipe->failure;
}

void
walredo_check_enabled(void)
{
	if (!walredo_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot perform WAL redo now"),
				 errdetail("The setting walredo.enabled is off.")));
}

static void
prepare_requests(void)
{
	walredo_check_enabled();
	if (request_pipe == NULL)
	{
		request_pipe = MemoryContextAlloc(TopMemoryContext,
										  sizeof(WalredoPipe));
		request_pipe->put = NULL;
	}
}

void
walredo_pool_request(const WalredoRequest *request, char *page)
{
	int			retries = 0;

	prepare_requests();
	for (;;)
	{
		WalredoSlot end;
		Failure		failure = make_request(request, page, &end);

		if (failure == FAILURE_NONE)
			return;
		if (!is_accident(failure, &end) || retries >= walredo_max_retries)
		{
			walredo_count(failure_counters[failure], 1);
			if (walredo_save_failed_requests && !request->is_saved &&
				failure != FAILURE_LAUNCH)
				walredo_save_request(request);
			report_failure(request, failure, &end);
		}
		walredo_count(STAT_RETRIES, 1);
		retries++;
	}
}

/* ----------------------------------------------------------------
 *		Streams
 * ----------------------------------------------------------------
 */

/*
 * Only the end of an exchange shows that there was not a byte too many in it,
 * which would have moved all answers that came after it.  So answers are kept
 * until all has gone well, and none is believed otherwise.
 */
struct WalredoStream
{
	WalredoTakeAnswer take;
	bool		is_open;		/* an exchange goes on */
	int			sent;			/* of the requests; the last perhaps in part */
	int			answered;
	int			num_requests;
	WalredoRequest requests[MAX_REQUESTS_AT_ONCE];
	char	   *answers;		/* room for as many pages */
};

WalredoStream *
walredo_stream_begin(WalredoTakeAnswer take)
{
	WalredoStream *stream = palloc0(sizeof(WalredoStream));

	prepare_requests();
	stream->take = take;
	stream->answers = palloc(MAX_REQUESTS_AT_ONCE * (Size) BLCKSZ);
	return stream;
}

void
walredo_stream_end(WalredoStream *stream)
{
	walredo_stream_finish(stream);
	pfree(stream->answers);
	pfree(stream);
}

/* Sends and receives what can be without waiting. */
static void
exchange_more(WalredoStream *stream, WalredoPipe *pipe)
{
	int			answered;

	do
	{
		while (pipe_write(pipe) && pipe->failure == FAILURE_NONE &&
			   stream->sent < stream->num_requests &&
			   pipe->unanswered < pipe->connection->max_unanswered)
		{
			const WalredoRequest *request = &stream->requests[stream->sent++];

			/* It takes in one request after the other, each in time. */
			set_deadline(pipe);
			request->send(pipe, request->arg);
			pipe->unanswered++;
		}

		/* An answer to what has not been sent as a whole can only be wrong. */
		answered = stream->answered;
		while (pipe->unanswered > (pipe->num_pieces > 0 ? 1 : 0) &&
			   pipe_read(pipe, stream->answers +
						 (Size) stream->answered * BLCKSZ))
		{
			stream->answered++;
			set_deadline(pipe);
		}
	} while (stream->answered > answered);
}

/*
 * Has the answers to the first n requests taken, or none, and forgets about
 * them.
 */
static void
take_answers(WalredoStream *stream, int n, bool none)
{
	for (int i = 0; i < n; i++)
		stream->take(stream->requests[i].arg, none ? NULL :
					 stream->answers + (Size) i * BLCKSZ);
	stream->num_requests -= n;
	memmove(stream->requests, stream->requests + n,
			stream->num_requests * sizeof(WalredoRequest));
	stream->sent = stream->answered = 0;
}

/*
 * Goes on with a stream that has requests, without waiting once there is a
 * child.  True if there is something to wait for then.
 */
static bool
stream_step(WalredoStream *stream)
{
	WalredoPipe *pipe = request_pipe;
	WalredoSlot end;
	int			n;

	if (!stream->is_open)
	{
		begin_exchange(pipe);
		stream->is_open = true;
	}
	if (pipe->failure == FAILURE_NONE)
		exchange_more(stream, pipe);
	if (pipe->failure == FAILURE_NONE &&
		stream->answered < stream->num_requests)
		return true;

	n = stream->answered;
	end_exchange(pipe, stream->requests, n, &end);
	stream->is_open = false;
	if (pipe->failure == FAILURE_NONE)
		take_answers(stream, n, false);
	else
		take_answers(stream, stream->num_requests, true);
	return false;
}

bool
walredo_stream_advance(WalredoStream *stream)
{
	if (stream->num_requests == 0)
		return true;
	if (!stream_step(stream))
		return stream->num_requests == 0;
	return stream->sent == stream->num_requests &&
		request_pipe->num_pieces == 0;
}

void
walredo_stream_add(WalredoStream *stream, const WalredoRequest *request)
{
	if (stream->num_requests == MAX_REQUESTS_AT_ONCE)
		walredo_stream_finish(stream);
	stream->requests[stream->num_requests++] = *request;
	(void) walredo_stream_advance(stream);
}

void
walredo_stream_finish(WalredoStream *stream)
{
	WalredoPipe *pipe = request_pipe;

	/* Nobody has looked for answers since the last call. */
	if (stream->is_open)
		set_deadline(pipe);
	while (stream->num_requests > 0)
	{
		if (!stream_step(stream))
			continue;
		if (pipe->num_pieces > 0)
			(void) wait_to_write(pipe);
		else
			(void) wait_pipe(pipe, false);
	}
}

/* ----------------------------------------------------------------
 *		Figures
 * ----------------------------------------------------------------
 */

void
walredo_pool_attach_stats(void)
{
	WalredoPool *shmem_pool = walredo_pool_in_shmem();

	if (pool == NULL && shmem_pool != NULL)
		walredo_stats_attach(&shmem_pool->stats);
}

WalredoChildInfo *
walredo_pool_children(int *nchildren)
{
	static const char *const state_names[] = {
		[SLOT_EMPTY] = "empty",
		[SLOT_LAUNCHING] = "launching",
		[SLOT_BUSY] = "busy",
		[SLOT_IDLE] = "idle",
		[SLOT_DOOMED] = "doomed",
		[SLOT_DEAD] = "dead"
	};
	WalredoPool *from = pool ? pool : walredo_pool_in_shmem();
	WalredoChildInfo *children;

	*nchildren = 0;
	if (from == NULL)
		return NULL;

	children = palloc0(from->num_slots * sizeof(WalredoChildInfo));
	LWLockAcquire(&from->lock, LW_SHARED);
	for (int i = 0; i < from->num_slots; i++)
	{
		WalredoSlot *slot = &from->slots[i];
		WalredoChildInfo *child = &children[*nchildren];

		if (slot->state == SLOT_EMPTY)
			continue;
		(*nchildren)++;
		child->slot = i;
		child->pid = slot->child_pid;
		child->state = state_names[slot->state];
		child->database = slot->database;
		child->role = slot->role;
		if (slot->child_pid == 0)
			continue;
		child->launched_at = slot->launched_at;
		child->last_redo_at = slot->last_redo_at;
		child->requests = slot->requests;
		child->records = slot->records;
	}
	LWLockRelease(&from->lock);
	return children;
}
