/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  A backend's part in a pool: which pool it uses, and its slot there.
 *
 * The backend takes a slot of the pool, and with it a child that nobody else
 * uses meanwhile; the worker starts one if need be.  Where the library was
 * preloaded, all sessions share the server's pool.  Where it was not, the first
 * process of a session that needs a child makes a pool for this session alone.
 *
 * If anything ends a request in the middle, the backend lets go of the slot in
 * the state DOOMED: the worker kills the child, which is never used again.  So
 * no backend can ever receive an answer to the request of another one.  See
 * shared.h for the states of a slot.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/slots.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pool/shared.h"
#include "pool/slots.h"
#include "pool/worker.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * How long the worker may take to kill and reap a child.  Not walredo.timeout:
 * that may be short, and how the child ended is still wanted then.
 */
#define REAP_TIMEOUT_MS		5000

/* How often, at most, a backend has a child started besides the one it has. */
#define EXTRA_LAUNCH_MS		100

/* How often a backend that waits for a slot checks its private worker. */
#define WORKER_CHECK_MS		1000

/*
 * The size of a private pool.  A process of the session has to wait for the
 * slot while another one uses it, or while the worker kills the child of an
 * earlier request.
 */
#define PRIVATE_SLOTS		1
#define PRIVATE_WAITERS		(1 + max_worker_processes)

/* All that this process keeps of pools and children. */
typedef struct WalredoClientState
{
	/* The pool that this session uses; NULL before it needs one. */
	WalredoPool *pool;

	/* Where it is, if it is a private one, else NULL. */
	dsm_segment *private_segment;

	/* The private pool's worker, if it was this process that registered it. */
	BackgroundWorkerHandle *private_worker;
	bool		private_worker_started;

	/*
	 * What this backend has of the pool: slots, or an entry in the queue of
	 * those who wait for one, which is an index, and -1 if it has none; it
	 * never has both.  release_resources() lets go of it when the resource
	 * owner ends, if that has not happened before.
	 */
	bool		has_slot[WALREDO_MAX_CHILDREN];
	int			num_slots;
	int			waiter;
	ResourceOwner owner;

	TimestampTz last_extra_launch;	/* when it last asked for another child */

	int			last_slot;		/* the slot that it released last */

	/*
	 * Our ends of the pipes of each slot's child.  They are kept after a
	 * request, for the next one that the same child serves.
	 */
	WalredoConnection connections[WALREDO_MAX_CHILDREN];

	/* The pipes of walredo_slot_pipe(); NULL before each is first asked for. */
	WalredoPipe *pipes[WALREDO_MAX_CHILDREN];

	/* Set by prepare_pool(), once. */
	bool		is_prepared;
	uint32		wait_for_child; /* wait events */
	uint32		wait_for_answer;
} WalredoClientState;

static WalredoClientState client = {.waiter = -1};

static void abandon_all(void);
static void release_resources(ResourceReleasePhase phase, bool is_commit,
							  bool is_top_level, void *arg);

/* ----------------------------------------------------------------
 *		Pools
 * ----------------------------------------------------------------
 */

/*
 * Requests that the worker of our private pool ends, after which no process
 * can use the pool any more.  This also wakes up all processes that wait for a
 * child, because a worker that was never started cannot tell them.
 */
static void
request_end_of_pool(void)
{
	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	client.pool->end_requested = true;
	walredo_pool_wake_worker(client.pool);
	walredo_pool_wake_backends(client.pool);
	LWLockRelease(&client.pool->lock);
}

/*
 * Waits until the worker of our private pool has ended.  This is for a worker
 * that another process of the session has registered, so that we cannot ask the
 * postmaster about it, and that was told to end.  A worker that was not started
 * yet is not waited for: it may never be, and ends at once if it is.
 */
static void
wait_for_private_worker(void)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REAP_TIMEOUT_MS);

	LWLockAcquire(&client.pool->lock, LW_SHARED);
	while (client.pool->worker_started && !client.pool->worker_ended &&
		   GetCurrentTimestamp() < deadline)
	{
		LWLockRelease(&client.pool->lock);
		pg_usleep(1000L);
		LWLockAcquire(&client.pool->lock, LW_SHARED);
	}
	LWLockRelease(&client.pool->lock);
}

/*
 * Leaves the private pool.  If is_dead, no other process can use it any more
 * either.  The last process to leave tells the worker to end, which kills the
 * child, and waits for that, so that no process is left when the session has
 * ended.
 */
static void
leave_private_pool(bool is_dead)
{
	bool		is_last;

	/* The next pool numbers its children from the start. */
	for (int i = 0; i < PRIVATE_SLOTS; i++)
		walredo_connection_close(&client.connections[i]);

	walredo_directory_lock();
	is_last =
		walredo_directory_leave(dsm_segment_handle(client.private_segment));
	if (is_dead)
		walredo_directory_forget(dsm_segment_handle(client.private_segment));
	walredo_directory_unlock();

	if (is_last || is_dead)
	{
		request_end_of_pool();
		if (client.private_worker != NULL)
		{
			TerminateBackgroundWorker(client.private_worker);
			(void) WaitForBackgroundWorkerShutdown(client.private_worker);
		}
		else
			wait_for_private_worker();
	}
	if (client.private_worker != NULL)
		pfree(client.private_worker);
	client.private_worker = NULL;
	walredo_stats_attach(NULL);
	dsm_detach(client.private_segment);
	client.private_segment = NULL;
	client.pool = NULL;
}

/* Lets go of all that this process has of pools, when it exits. */
static void
client_exit(int code, Datum arg)
{
	abandon_all();
	if (client.private_segment != NULL)
		leave_private_pool(false);
}

/*
 * The process ID by which the directory knows this session: that of the
 * backend, also in a parallel worker.
 */
static pid_t
session_pid(void)
{
	if (IsParallelWorker() && MyProc->lockGroupLeader != NULL)
		return MyProc->lockGroupLeader->pid;
	return MyProcPid;
}

/*
 * Makes a private pool: a dynamic segment with one slot, and a worker, which
 * may not have started yet when this returns.  Returns false if the server has
 * no room for another worker.  If it has no room for another segment, also
 * returns false if quietly is true, and raises an ERROR if not.  The directory
 * must be locked.
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
	registered = RegisterDynamicBackgroundWorker(&worker,
												 &client.private_worker);
	MemoryContextSwitchTo(old_context);
	if (!registered)
	{
		client.private_worker = NULL;
		dsm_detach(segment);
		return false;
	}
	client.private_worker_started = false;
	client.private_segment = segment;
	walredo_directory_enter(session_pid(), dsm_segment_handle(segment));
	return true;
}

/*
 * Joins the private pool of this session, or makes it if there is none yet.
 * Returns and raises what make_private_pool() does.
 */
static bool
join_private_pool(bool quietly)
{
	dsm_handle	handle;

	/*
	 * If an error is raised before the unlock, its handling releases the
	 * lock. A segment that is not in client.private_segment by then is of no
	 * use to any process, and is removed when this process ends.
	 */
	walredo_directory_lock();
	handle = walredo_directory_find(session_pid());
	if (handle != DSM_HANDLE_INVALID)
	{
		client.private_segment = dsm_attach(handle);
		if (client.private_segment != NULL)
		{
			dsm_pin_mapping(client.private_segment);
			walredo_directory_join(handle);
		}
		else
			walredo_directory_forget(handle);
	}
	if (client.private_segment != NULL || make_private_pool(quietly))
		client.pool = dsm_segment_address(client.private_segment);
	walredo_directory_unlock();
	return client.pool != NULL;
}

/*
 * True if the worker of our private pool has ended, or was told to.  False for
 * a worker that has not started yet.  If it cannot be started, only the
 * process that has registered it can learn that from the postmaster, and gets
 * true.
 */
static bool
private_worker_is_gone(void)
{
	pid_t		pid;
	bool		ended;

	LWLockAcquire(&client.pool->lock, LW_SHARED);
	ended = client.pool->worker_ended || client.pool->end_requested;
	LWLockRelease(&client.pool->lock);
	if (ended || client.private_worker == NULL)
		return ended;
	return GetBackgroundWorkerPid(client.private_worker, &pid) == BGWH_STOPPED;
}

/* True if the worker of our private pool has not started yet. */
static bool
private_worker_is_missing(void)
{
	bool		missing;

	LWLockAcquire(&client.pool->lock, LW_SHARED);
	missing = !client.pool->worker_started;
	LWLockRelease(&client.pool->lock);
	return missing;
}

/*
 * Finds the pool that this process uses, if there is one already, and leaves it
 * in client.pool.  A private pool whose worker has ended is left first.
 */
static void
prepare_pool(void)
{
	if (!client.is_prepared)
	{
		walredo_pool_register_tranche();
		client.wait_for_child = walredo_wait_event("WalredoChild",
												   PG_WAIT_EXTENSION);
		client.wait_for_answer = walredo_wait_event("WalredoAnswer",
													WAIT_EVENT_MQ_RECEIVE);
		before_shmem_exit(client_exit, 0);
		RegisterResourceReleaseCallback(release_resources, NULL);
		client.is_prepared = true;
	}

	/* Somebody may have terminated our private pool's worker. */
	if (client.private_segment != NULL && private_worker_is_gone())
		leave_private_pool(true);

	if (client.pool == NULL)
		client.pool = walredo_pool_in_shmem();
}

/*
 * As prepare_pool(), but makes a private pool if there is no pool, and waits
 * until its worker has started.  ERROR 53000 if that is not possible.
 */
static void
attach_pool(void)
{
	pid_t		pid;

	prepare_pool();
	if (client.pool == NULL && !join_private_pool(false))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not register a background worker for WAL redo"),
				 errhint("Increase max_worker_processes, or add walredo to shared_preload_libraries so that all sessions share one worker.")));
	if (client.private_worker != NULL && !client.private_worker_started)
	{
		if (WaitForBackgroundWorkerStartup(client.private_worker,
										   &pid) != BGWH_STARTED)
		{
			leave_private_pool(true);
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("could not start a background worker for WAL redo"),
					 errhint("More details may be available in the server log.")));
		}
		client.private_worker_started = true;
	}
	walredo_stats_attach(&client.pool->stats);
}

void
walredo_pool_expect_requests(void)
{
	if (!walredo_enabled || IsParallelWorker())
		return;
	prepare_pool();

	/* If there is no room for a pool now, there may be when it is needed. */
	if (client.pool == NULL)
		(void) join_private_pool(true);
}

/* ----------------------------------------------------------------
 *		Slots
 * ----------------------------------------------------------------
 */

/*
 * Returns the names of our database and of a role, which are shown in the title
 * of the child's process.  They are looked up in the catalogs when the role is
 * another one than in the last call.
 */
static const char *
title_of_role(Oid role)
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

/* Notes that a slot is ours, and that a pipe is for it. */
static void
add_slot(WalredoPipe *pipe, int slotno)
{
	Assert(!client.has_slot[slotno]);
	client.has_slot[slotno] = true;
	client.num_slots++;
	pipe->slot = slotno;
}

/* The same for a slot that is not ours any more. */
static void
remove_slot(int slotno)
{
	Assert(client.has_slot[slotno]);
	client.has_slot[slotno] = false;
	client.num_slots--;
}

/*
 * Takes a slot, and returns its number, if there is one that the caller should
 * not wait for.  Returns -1 if it should join the queue.
 *
 * An idle child that serves this database and role is taken at once, of
 * several the one that we used last.  If all such children are at work, or
 * about to start, it is better to wait: for most requests a child takes less
 * time than another takes to start, and so many callers at once cause one
 * launch.  The worker starts another child for backends that wait for long:
 * offer_slot().  If no child serves this database and role, one is started in
 * an empty slot.  If there is no empty slot, it takes the place of another
 * database's or role's child, of the one that has been idle for longest.
 */
static int
take_slot(Oid database, Oid role, const char *title)
{
	int			usable = WalredoPoolUsableSlots(client.pool);
	int			idle = -1;
	int			empty = -1;
	int			oldest = -1;
	bool		at_work = false;
	int			found;
	WalredoSlot *slot;

	Assert(LWLockHeldByMe(&client.pool->lock));

	for (int i = 0; i < usable; i++)
	{
		bool		is_ours;

		slot = &client.pool->slots[i];
		is_ours = (slot->database == database && slot->role == role);
		if (slot->state == SLOT_IDLE && is_ours)
		{
			if (idle < 0 || i == client.last_slot)
				idle = i;
		}
		else if (slot->state == SLOT_IDLE)
		{
			if (oldest < 0 ||
				slot->idle_since < client.pool->slots[oldest].idle_since)
				oldest = i;
		}
		else if (slot->state == SLOT_EMPTY)
		{
			if (empty < 0)
				empty = i;
		}
		else if ((slot->state == SLOT_BUSY || slot->state == SLOT_LAUNCHING ||
				  slot->state == SLOT_REPLACING) && is_ours)
			at_work = true;
	}

	if (idle >= 0)
		found = idle;
	else if (at_work || client.pool->num_waiters > 0)
		return -1;
	else if (empty >= 0)
		found = empty;
	else if (oldest >= 0)
		found = oldest;
	else
		return -1;

	slot = &client.pool->slots[found];
	slot->owner_pid = MyProcPid;
	slot->owner_latch = MyLatch;
	if (slot->state == SLOT_IDLE && WalredoSlotServes(slot, database, role))
		slot->state = SLOT_BUSY;
	else
	{
		slot->state = slot->state == SLOT_EMPTY ? SLOT_LAUNCHING :
			SLOT_REPLACING;
		slot->database = database;
		slot->role = role;
		strlcpy(slot->title, title, sizeof(slot->title));
		walredo_pool_wake_worker(client.pool);
	}
	return found;
}

/*
 * Joins the queue of those who wait for a slot.  ERROR 53000 if it is full;
 * then pool->lock is released.
 */
static void
begin_waiting(Oid database, Oid role, const char *title)
{
	WalredoWaiter *waiters = WalredoPoolWaiters(client.pool);
	TimestampTz now;

	Assert(LWLockHeldByMe(&client.pool->lock));

	for (int i = 0; i < client.pool->max_waiters; i++)
	{
		if (waiters[i].ticket == 0)
		{
			waiters[i].ticket = ++client.pool->last_ticket;
			waiters[i].pid = MyProcPid;
			waiters[i].latch = MyLatch;
			waiters[i].database = database;
			waiters[i].role = role;
			strlcpy(waiters[i].title, title, sizeof(waiters[i].title));
			waiters[i].slot = -1;
			client.pool->num_waiters++;
			client.waiter = i;

			/* The worker may have to start another child: see offer_slot(). */
			now = GetCurrentTimestamp();
			if (client.pool->crowded_since == 0)
				client.pool->crowded_since = now;
			else if (now <
					 TimestampTzPlusMilliseconds(client.pool->crowded_since,
												 WALREDO_LAUNCH_PATIENCE_MS))
				return;
			walredo_pool_wake_worker(client.pool);
			return;
		}
	}

	LWLockRelease(&client.pool->lock);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("too many sessions wait for a wal-redo child")));
}

/*
 * Leaves the queue.  Returns the number of the slot that was given to us, and
 * is ours now, or -1.
 */
static int
end_waiting(void)
{
	WalredoWaiter *waiter = &WalredoPoolWaiters(client.pool)[client.waiter];

	Assert(LWLockHeldByMe(&client.pool->lock));

	if (waiter->slot < 0 && --client.pool->num_waiters == 0)
		client.pool->crowded_since = 0;
	waiter->ticket = 0;
	client.waiter = -1;
	return waiter->slot;
}

/*
 * Waits for the latch, until the deadline if that is not 0.  The caller must
 * look again at what it waits for.
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

WalredoFailure
walredo_slot_acquire(WalredoPipe *pipe)
{
	Oid			database = MyDatabaseId;
	Oid			role = GetUserId();
	const char *title = title_of_role(role);
	TimestampTz deadline;
	int			slotno;

	Assert(client.num_slots == 0 && client.waiter < 0);

	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	slotno = take_slot(database, role, title);
	if (slotno >= 0)
		add_slot(pipe, slotno);
	else
		begin_waiting(database, role, title);
	LWLockRelease(&client.pool->lock);

	/*
	 * There is no limit to this wait, since the requests of other backends
	 * may take long.  But no request is under way as long as the worker of a
	 * private pool has not started, so that is not waited for longer than for
	 * the start of a child.  It has to be checked now and then, because no
	 * process sets our latch if the one that has registered the worker ends
	 * meanwhile.
	 */
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   walredo_timeout);
	while (client.waiter >= 0)
	{
		TimestampTz now = GetCurrentTimestamp();

		LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
		if (WalredoPoolWaiters(client.pool)[client.waiter].slot >= 0)
			add_slot(pipe, end_waiting());
		LWLockRelease(&client.pool->lock);
		if (client.waiter < 0)
			break;
		if (client.private_segment != NULL &&
			(private_worker_is_gone() ||
			 (now >= deadline && private_worker_is_missing())))
		{
			/* Without its worker the pool is of no use, so make another. */
			abandon_all();
			leave_private_pool(true);
			attach_pool();
			return walredo_slot_acquire(pipe);
		}
		wait_latch(client.wait_for_child,
				   client.private_segment == NULL ? 0 :
				   TimestampTzPlusMilliseconds(now, WORKER_CHECK_MS));
	}

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   walredo_timeout);
	for (;;)
	{
		WalredoSlotState state;
		WalredoChildEndKind end_kind;

		LWLockAcquire(&client.pool->lock, LW_SHARED);
		state = client.pool->slots[pipe->slot].state;
		end_kind = client.pool->slots[pipe->slot].end.kind;
		LWLockRelease(&client.pool->lock);

		if (state == SLOT_BUSY)
			return FAILURE_NONE;
		if (state == SLOT_DEAD)
			return end_kind == CHILD_NOT_STARTED ? FAILURE_LAUNCH :
				FAILURE_GONE;
		if (GetCurrentTimestamp() >= deadline ||
			(client.private_segment != NULL && private_worker_is_gone()))
			return FAILURE_LAUNCH;
		wait_latch(client.wait_for_child, deadline);
	}
}

bool
walredo_slot_try(WalredoPipe *pipe)
{
	Oid			role = GetUserId();
	const char *title = title_of_role(role);
	TimestampTz now = GetCurrentTimestamp();
	int			usable = WalredoPoolUsableSlots(client.pool);
	int			idle = -1;
	int			empty = -1;
	bool		is_launching = false;

	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	for (int i = 0; i < usable && client.pool->num_waiters == 0; i++)
	{
		WalredoSlot *slot = &client.pool->slots[i];

		if (slot->state == SLOT_EMPTY && empty < 0)
			empty = i;
		if (slot->database != MyDatabaseId || slot->role != role)
			continue;
		if (slot->state == SLOT_IDLE && idle < 0)
			idle = i;
		if (slot->state == SLOT_LAUNCHING)
			is_launching = true;
	}
	if (idle >= 0)
	{
		WalredoSlot *slot = &client.pool->slots[idle];

		slot->state = SLOT_BUSY;
		slot->owner_pid = MyProcPid;
		slot->owner_latch = MyLatch;
		add_slot(pipe, idle);
	}
	else if (empty >= 0 && !is_launching &&
			 now >= TimestampTzPlusMilliseconds(client.last_extra_launch,
												EXTRA_LAUNCH_MS))
	{
		WalredoSlot *slot = &client.pool->slots[empty];

		slot->state = SLOT_LAUNCHING;
		slot->database = MyDatabaseId;
		slot->role = role;
		strlcpy(slot->title, title, sizeof(slot->title));
		walredo_pool_wake_worker(client.pool);
		client.last_extra_launch = now;
	}
	LWLockRelease(&client.pool->lock);
	return idle >= 0;
}

void
walredo_slot_release(WalredoPipe *pipe, int num_requests, int num_records)
{
	int			slotno = pipe->slot;
	WalredoSlot *slot = &client.pool->slots[slotno];
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_BUSY)
	{
		slot->state = SLOT_IDLE;
		slot->idle_since = slot->last_redo_at = now;
		slot->requests += num_requests;
		slot->records += num_records;
	}
	else
	{
		/* The child died after its last answer, and nobody waits for it. */
		Assert(slot->state == SLOT_DEAD);
		slot->state = SLOT_EMPTY;
	}
	client.last_slot = slotno;
	remove_slot(slotno);
	pipe->slot = -1;
	walredo_pool_pass_on_slot(client.pool, slotno);
	LWLockRelease(&client.pool->lock);
}

/* Lets go of a slot, in whatever state it is.  The lock must be held. */
static void
abandon_slot(int slotno)
{
	WalredoSlot *slot = &client.pool->slots[slotno];

	Assert(LWLockHeldByMe(&client.pool->lock));

	remove_slot(slotno);
	if (slot->state == SLOT_DEAD)
	{
		slot->state = SLOT_EMPTY;
		walredo_pool_pass_on_slot(client.pool, slotno);
	}
	else
	{
		slot->state = SLOT_DOOMED;
		slot->kill_cause = STAT_KILLS_FAILURE;
		slot->owner_pid = 0;
		slot->owner_latch = NULL;
		walredo_pool_wake_worker(client.pool);
	}
}

void
walredo_slot_abandon(WalredoPipe *pipe)
{
	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	abandon_slot(pipe->slot);
	LWLockRelease(&client.pool->lock);
	pipe->slot = -1;
}

/*
 * Lets go of all slots, and leaves the queue of those who wait for one.  Does
 * nothing if we have no slot and do not wait.
 */
static void
abandon_all(void)
{
	if (client.waiter < 0 && client.num_slots == 0)
		return;

	LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
	if (client.waiter >= 0)
	{
		int			slotno = end_waiting();

		if (slotno >= 0)
		{
			client.has_slot[slotno] = true;
			client.num_slots++;
		}
	}
	for (int i = 0; client.num_slots > 0; i++)
	{
		if (client.has_slot[i])
			abandon_slot(i);
	}
	LWLockRelease(&client.pool->lock);
}

/*
 * Resource release callback.  If a request is still under way when its resource
 * owner is released, an error has ended the transaction or subtransaction, for
 * example because the query was cancelled.  Then abandons all slots.
 */
static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_BEFORE_LOCKS ||
		CurrentResourceOwner != client.owner)
		return;
	if (client.num_slots > 0 || client.waiter >= 0)
		walredo_count(STAT_ERRORS_CANCEL, 1);
	abandon_all();
	client.owner = NULL;
}

/*
 * Has the worker kill the child in a pipe's slot if it lives, waits until it is
 * reaped, and sets *end to how it ended.  Returns false, without *end, if there
 * is no worker that could do so, or if it takes longer than REAP_TIMEOUT_MS.
 * In either case the slot is let go.
 */
static bool
await_reaping(WalredoPipe *pipe, WalredoChildEnd *end)
{
	WalredoSlot *slot = &client.pool->slots[pipe->slot];
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REAP_TIMEOUT_MS);

	for (;;)
	{
		LWLockAcquire(&client.pool->lock, LW_EXCLUSIVE);
		if (slot->state == SLOT_DEAD)
			break;
		if (slot->state != SLOT_DOOMED)
		{
			slot->state = SLOT_DOOMED;
			slot->kill_cause = STAT_KILLS_FAILURE;
			walredo_pool_wake_worker(client.pool);
		}
		LWLockRelease(&client.pool->lock);

		/* A worker that has not started has no child to kill. */
		if (GetCurrentTimestamp() >= deadline ||
			(client.private_segment != NULL &&
			 (private_worker_is_gone() || private_worker_is_missing())))
		{
			walredo_slot_abandon(pipe);
			return false;
		}
		wait_latch(client.wait_for_child, deadline);
	}

	*end = slot->end;
	slot->state = SLOT_EMPTY;
	remove_slot(pipe->slot);
	walredo_pool_pass_on_slot(client.pool, pipe->slot);
	pipe->slot = -1;
	LWLockRelease(&client.pool->lock);
	return true;
}

WalredoPipe *
walredo_slot_pipe(int number)
{
	if (client.pipes[number] == NULL)
		client.pipes[number] = MemoryContextAlloc(TopMemoryContext,
												  sizeof(WalredoPipe));
	return client.pipes[number];
}

void
walredo_slot_prepare(void)
{
	attach_pool();
	if (client.num_slots > 0 || client.waiter >= 0)
		elog(ERROR, "a wal-redo child is in use already");
	client.owner = CurrentResourceOwner;
}

WalredoFailure
walredo_slot_connect(WalredoPipe *pipe)
{
	pipe->wait_for_answer = client.wait_for_answer;
	pipe->connection = &client.connections[pipe->slot];
	return walredo_connection_open(pipe->connection, client.pool, pipe->slot,
								   pipe->deadline, client.wait_for_child);
}

void
walredo_slot_await_end(WalredoPipe *pipe, WalredoChildEnd *end)
{
	if (!await_reaping(pipe, end))
	{
		memset(end, 0, sizeof(*end));
		end->kind = client.private_segment != NULL &&
			private_worker_is_missing() ? CHILD_NOT_STARTED : CHILD_KILLED;
		strlcpy(end->stderr_tail, end->kind == CHILD_NOT_STARTED ?
				"(none, since its worker did not start)" :
				"(unknown, since its worker ended)",
				sizeof(end->stderr_tail));
		end->with_worker = (client.private_segment != NULL);
	}

	/*
	 * The worker of our private pool may not have ended yet.  Leave the pool
	 * now, so that the next request is not sent to the same worker.
	 */
	if (client.private_segment != NULL && end->with_worker)
		leave_private_pool(true);
}

/* ----------------------------------------------------------------
 *		Statistics
 * ----------------------------------------------------------------
 */

void
walredo_pool_attach_stats(void)
{
	WalredoPool *shmem_pool = walredo_pool_in_shmem();

	if (client.pool == NULL && shmem_pool != NULL)
		walredo_stats_attach(&shmem_pool->stats);
}

WalredoChildInfo *
walredo_pool_children(int *nchildren)
{
	static const char *const state_names[] = {
		[SLOT_EMPTY] = "empty",
		[SLOT_LAUNCHING] = "launching",
		[SLOT_REPLACING] = "launching",
		[SLOT_BUSY] = "busy",
		[SLOT_IDLE] = "idle",
		[SLOT_DOOMED] = "doomed",
		[SLOT_DEAD] = "dead"
	};
	WalredoPool *from = client.pool ? client.pool : walredo_pool_in_shmem();
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
