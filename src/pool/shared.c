/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  The pool's shared state: where it lives, and who gets a free slot.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/shared.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "pool/shared.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

bool		walredo_enabled = true;
int			walredo_timeout = 20000;
int			walredo_pool_size = 4;
int			walredo_idle_timeout = 60000;
int			walredo_max_parallel_children = 2;
int			walredo_max_retries = 1;
bool		walredo_save_failed_requests = false;

/* The pool of a server that preloaded the library, else NULL. */
static WalredoPool *shmem_pool = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* A private pool, and how many processes use it. */
typedef struct DirectoryEntry
{
	pid_t		session_pid;	/* 0 if the entry is free */
	dsm_handle	handle;
	int			users;
} DirectoryEntry;

/*
 * The directory of private pools, in the server's main shared memory.  If the
 * library was not preloaded, nobody has asked for memory for it, and its few
 * bytes come out of the server's reserve.
 *
 * Each private pool has a background worker, so there are as many entries as
 * the server can have background workers.
 */
typedef struct Directory
{
	/*
	 * The tranche of the locks of all pools.  They share one, because a
	 * tranche that was allocated cannot be given back to the server.
	 */
	int			tranche;

	LWLock		lock;			/* protects the entries */
	int			num_entries;
	DirectoryEntry entries[FLEXIBLE_ARRAY_MEMBER];
} Directory;

static Directory *directory = NULL;

static Size
directory_size(void)
{
	return add_size(offsetof(Directory, entries),
					mul_size(max_worker_processes, sizeof(DirectoryEntry)));
}

/* Finds the directory, and makes it if no process has done so yet. */
static Directory *
get_directory(void)
{
	bool		found;

	if (directory != NULL)
		return directory;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	directory = ShmemInitStruct("walredo directory", directory_size(), &found);
	if (!found)
	{
		memset(directory, 0, directory_size());
		directory->tranche = walredo_new_tranche_id("walredo");
		LWLockInitialize(&directory->lock, directory->tranche);
		directory->num_entries = max_worker_processes;
	}
	LWLockRelease(AddinShmemInitLock);
	return directory;
}

void
walredo_pool_register_tranche(void)
{
	walredo_register_tranche(get_directory()->tranche, "walredo");
}

void
walredo_directory_lock(void)
{
	LWLockAcquire(&get_directory()->lock, LW_EXCLUSIVE);
}

void
walredo_directory_unlock(void)
{
	LWLockRelease(&get_directory()->lock);
}

/*
 * The entry of the session whose backend has that process ID, or if session_pid
 * is 0, of the pool in that segment; NULL if there is none.
 */
static DirectoryEntry *
find_entry(pid_t session_pid, dsm_handle handle)
{
	Assert(LWLockHeldByMe(&get_directory()->lock));

	for (int i = 0; i < directory->num_entries; i++)
	{
		DirectoryEntry *entry = &directory->entries[i];

		if (session_pid != 0 ? entry->session_pid == session_pid :
			entry->session_pid != 0 && entry->handle == handle)
			return entry;
	}
	return NULL;
}

dsm_handle
walredo_directory_find(pid_t session_pid)
{
	DirectoryEntry *entry = find_entry(session_pid, DSM_HANDLE_INVALID);

	return entry != NULL ? entry->handle : DSM_HANDLE_INVALID;
}

void
walredo_directory_enter(pid_t session_pid, dsm_handle handle)
{
	Assert(find_entry(session_pid, DSM_HANDLE_INVALID) == NULL);

	for (int i = 0; i < directory->num_entries; i++)
	{
		DirectoryEntry *entry = &directory->entries[i];

		if (entry->session_pid != 0)
			continue;
		entry->session_pid = session_pid;
		entry->handle = handle;
		entry->users = 1;
		return;
	}
}

void
walredo_directory_join(dsm_handle handle)
{
	DirectoryEntry *entry = find_entry(0, handle);

	if (entry != NULL)
		entry->users++;
}

bool
walredo_directory_leave(dsm_handle handle)
{
	DirectoryEntry *entry = find_entry(0, handle);

	if (entry == NULL)
		return true;
	if (--entry->users > 0)
		return false;
	entry->session_pid = 0;
	return true;
}

void
walredo_directory_forget(dsm_handle handle)
{
	DirectoryEntry *entry = find_entry(0, handle);

	if (entry != NULL)
		entry->session_pid = 0;
}

Size
walredo_pool_shared_size(int num_slots, int max_waiters)
{
	Size		size = offsetof(WalredoPool, slots);

	size = MAXALIGN(add_size(size, mul_size(num_slots, sizeof(WalredoSlot))));
	return add_size(size, mul_size(max_waiters, sizeof(WalredoWaiter)));
}

void
walredo_pool_shared_init(WalredoPool *pool, bool is_private, int num_slots,
						 int max_waiters)
{
	memset(pool, 0, walredo_pool_shared_size(num_slots, max_waiters));
	LWLockInitialize(&pool->lock, get_directory()->tranche);
	walredo_stats_init(&pool->stats);
	pool->is_private = is_private;
	pool->num_slots = num_slots;
	pool->max_waiters = max_waiters;
	pool->waiters_offset = MAXALIGN(offsetof(WalredoPool, slots) +
									num_slots * sizeof(WalredoSlot));
}

/*
 * The most backends that can wait for a slot of the server's pool at once:
 * every process that can run a query, each of which waits for one slot at
 * most.
 */
static int
shmem_max_waiters(void)
{
	return MaxBackends;
}

static void
pool_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(walredo_pool_shared_size(WALREDO_MAX_CHILDREN,
													shmem_max_waiters()));
	RequestAddinShmemSpace(directory_size());
}

static void
pool_shmem_startup(void)
{
	bool		found;
	WalredoPool *pool;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	/*
	 * This is also called after a crash, when the postmaster makes its shared
	 * memory anew, so the directory must be looked up again.
	 */
	directory = NULL;
	pool = ShmemInitStruct("walredo",
						   walredo_pool_shared_size(WALREDO_MAX_CHILDREN,
													shmem_max_waiters()),
						   &found);
	if (!found)
		walredo_pool_shared_init(pool, false, WALREDO_MAX_CHILDREN,
								 shmem_max_waiters());
	shmem_pool = pool;
}

void
walredo_pool_request_shmem(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = pool_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = pool_shmem_startup;
}

WalredoPool *
walredo_pool_in_shmem(void)
{
	return shmem_pool;
}

void
walredo_pool_wake_worker(WalredoPool *pool)
{
	Assert(LWLockHeldByMe(&pool->lock));

	if (pool->worker_latch)
		SetLatch(pool->worker_latch);
}

void
walredo_pool_wake_backends(WalredoPool *pool)
{
	WalredoWaiter *waiters = WalredoPoolWaiters(pool);

	Assert(LWLockHeldByMe(&pool->lock));

	for (int i = 0; i < pool->num_slots; i++)
	{
		if (pool->slots[i].owner_latch != NULL)
			SetLatch(pool->slots[i].owner_latch);
	}
	for (int i = 0; i < pool->max_waiters; i++)
	{
		if (waiters[i].ticket != 0)
			SetLatch(waiters[i].latch);
	}
}

WalredoWaiter *
walredo_pool_first_waiter(WalredoPool *pool)
{
	WalredoWaiter *waiters = WalredoPoolWaiters(pool);
	WalredoWaiter *first = NULL;

	Assert(LWLockHeldByMe(&pool->lock));

	for (int i = 0; pool->num_waiters > 0 && i < pool->max_waiters; i++)
	{
		if (waiters[i].ticket != 0 && waiters[i].slot < 0 &&
			(first == NULL || waiters[i].ticket < first->ticket))
			first = &waiters[i];
	}
	return first;
}

void
walredo_pool_pass_on_slot(WalredoPool *pool, int slotno)
{
	WalredoSlot *slot = &pool->slots[slotno];
	WalredoWaiter *first;

	Assert(LWLockHeldByMe(&pool->lock));
	Assert(slot->state == SLOT_IDLE || slot->state == SLOT_EMPTY);

	slot->owner_pid = 0;
	slot->owner_latch = NULL;

	if (slotno >= WalredoPoolUsableSlots(pool))
	{
		/* The pool has become smaller. */
		if (slot->state == SLOT_IDLE)
		{
			slot->state = SLOT_DOOMED;
			slot->kill_cause = STAT_KILLS_SIZE;
			walredo_pool_wake_worker(pool);
		}
		return;
	}

	first = walredo_pool_first_waiter(pool);
	if (first == NULL)
	{
		pool->crowded_since = 0;
		return;
	}

	first->slot = slotno;
	pool->num_waiters--;
	slot->owner_pid = first->pid;
	slot->owner_latch = first->latch;
	if (WalredoSlotServes(slot, first->database, first->role))
		slot->state = SLOT_BUSY;
	else
	{
		slot->state = slot->state == SLOT_EMPTY ? SLOT_LAUNCHING :
			SLOT_REPLACING;
		slot->database = first->database;
		slot->role = first->role;
		memcpy(slot->title, first->title, sizeof(slot->title));
		walredo_pool_wake_worker(pool);
	}
	SetLatch(first->latch);
}
