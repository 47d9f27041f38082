/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  The pool's shared state: private to this room.
 *
 * A pool is a worker, the children that it runs, and the backends that use
 * them.  Its state lives in the server's main shared memory when the library
 * is preloaded, and in a dynamic segment of the session that made it when it
 * is not; the code is the same.
 *
 * A pool in a dynamic segment serves one session: the backend that began it and
 * the parallel workers of that, whichever needed it first.  They find it by the
 * backend's process ID in a directory in the server's main shared memory, and
 * the last of them to end has its worker end, too.
 *
 * Each child has a slot, and each slot is in one of the states below.  A slot
 * that a backend uses or waits for has an owner, that backend; any other has
 * none.  "Whom a child serves" is a database and a role: a child is never used
 * for another one, since redo of a broken record may leave anything in it.
 *
 *	EMPTY		There is no child, and no owner.
 *	LAUNCHING	The owner waits while the worker starts a child.
 *	REPLACING	As LAUNCHING, but there still is a child, which served another
 *				database or role.  The worker kills that first.
 *	BUSY		The owner, and nobody else, may use the child's pipes.
 *	IDLE		There is no owner.  The child waits for a request of the
 *				database and role that it serves.
 *	DOOMED		The worker must kill the child, because it may be in the middle
 *				of a request, or is not wanted any more.  If there is an owner,
 *				it waits to learn how the child ended.
 *	DEAD		The child is reaped, or could not be started.  The owner reads
 *				how it ended, and lets the slot go.
 *
 * These functions make the moves: (b) runs in a backend, (w) in the worker, and
 * (s) in either, whichever frees the slot or finds that it is free.
 *
 *	EMPTY -> LAUNCHING		take_slot() (b), walredo_pool_slot_free() (s)
 *	IDLE -> REPLACING		take_slot() (b), walredo_pool_slot_free() (s)
 *	IDLE -> BUSY			take_slot() (b), walredo_pool_slot_free() (s)
 *	REPLACING -> LAUNCHING	child_gone() (w)
 *	LAUNCHING -> BUSY		read_first_answer() (w)
 *	LAUNCHING -> DEAD		child_gone() (w)
 *	BUSY -> IDLE			walredo_slot_release() (b)
 *	BUSY -> DEAD			child_gone() (w): the child ended by itself, or
 *							wrote too much to standard error
 *	any with an owner		walredo_slot_await_end() (b), which stays the owner,
 *	  but DEAD -> DOOMED	and walredo_slot_abandon() (b), which does not
 *	IDLE -> DOOMED			update_slot() (w): idle for too long, or the pool
 *							has become smaller; walredo_pool_slot_free() (s):
 *							the latter, too; child_gone() (w)
 *	DOOMED -> DEAD			child_gone() (w), if there is an owner
 *	DOOMED -> EMPTY			child_gone() (w), if there is none
 *	DEAD -> EMPTY			walredo_slot_await_end(), walredo_slot_abandon()
 *							and walredo_slot_release() (b)
 *
 * A slot that becomes IDLE or EMPTY while backends wait for one goes to the
 * backend that has waited longest: walredo_pool_slot_free().
 *
 * Locking: pool->lock protects everything but what is set once before the
 * worker starts.  It is held for a few instructions at a time, never while
 * waiting or making system calls.  The directory has a lock of its own, which
 * is held while a session's pool is looked for, made or left; pool->lock is
 * never taken before it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/shared.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_SHARED_H
#define WALREDO_POOL_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pool/pool.h"
#include "proto/proto.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "stats/stats.h"

/* Bytes kept of what a child wrote to standard error, the last ones. */
#define WALREDO_STDERR_TAIL_SIZE	1024

typedef enum WalredoSlotState
{
	SLOT_EMPTY,
	SLOT_LAUNCHING,
	SLOT_REPLACING,
	SLOT_BUSY,
	SLOT_IDLE,
	SLOT_DOOMED,
	SLOT_DEAD
} WalredoSlotState;

/* In which way a child ended. */
typedef enum WalredoChildEndKind
{
	CHILD_NOT_STARTED,			/* it never answered its first ping */
	CHILD_EXITED,				/* by itself, or somebody else killed it */
	CHILD_KILLED				/* it lived until the worker killed it */
} WalredoChildEndKind;

/* How a child ended. */
typedef struct WalredoChildEnd
{
	WalredoChildEndKind kind;
	int			exit_status;	/* CHILD_EXITED: from waitpid() */

	/*
	 * Not CHILD_EXITED: the only reason was that the worker itself ended, so
	 * nothing was wrong with the child.
	 */
	bool		with_worker;

	uint64		requests;		/* that it had answered */

	/* The end of what it wrote to standard error, a string. */
	char		stderr_tail[WALREDO_STDERR_TAIL_SIZE];
} WalredoChildEnd;

typedef struct WalredoSlot
{
	WalredoSlotState state;

	/* The owner; zero and NULL if there is none. */
	pid_t		owner_pid;
	Latch	   *owner_latch;

	/* Whom the child serves. */
	Oid			database;
	Oid			role;
	char		title[WALREDO_TITLE_SIZE];	/* their names, as they were */

	/* The child.  Its number differs from that of any child before it. */
	uint64		child_number;	/* 0 if there is none */
	pid_t		child_pid;		/* 0 if there is none */
	TimestampTz launched_at;
	TimestampTz last_redo_at;	/* 0 if it has answered nothing yet */
	TimestampTz idle_since;
	uint64		requests;		/* answered by it */
	uint64		records;		/* in them */

	/* Why the worker is to kill it; counted when it does. */
	WalredoCounter kill_cause;

	/* SLOT_DEAD only. */
	WalredoChildEnd end;
} WalredoSlot;

/* A backend that waits for a slot. */
typedef struct WalredoWaiter
{
	uint64		ticket;			/* order of arrival; 0 if the entry is free */
	pid_t		pid;
	Latch	   *latch;
	Oid			database;
	Oid			role;
	char		title[WALREDO_TITLE_SIZE];
	int			slot;			/* the slot that it was given, or -1 */
	TimestampTz since;
} WalredoWaiter;

typedef struct WalredoPool
{
	LWLock		lock;

	/*
	 * The worker.  Zero and NULL while there is none.
	 */
	pid_t		worker_pid;
	Latch	   *worker_latch;

	/*
	 * A private pool: its worker has come to life; it must end, and nobody
	 * may use the pool any more; it has killed all children.
	 */
	bool		worker_started;
	bool		end_requested;
	bool		worker_ended;

	/*
	 * Where the worker listens, to hand out the ends of pipes: a name in the
	 * abstract namespace, which leaves no file.
	 */
	char		socket_name[64];

	uint64		last_child_number;
	uint64		last_ticket;

	/* Set once. */
	bool		is_private;		/* belongs to one session */
	int			num_slots;
	int			max_waiters;
	Size		waiters_offset; /* of an array of WalredoWaiter */

	WalredoStats stats;			/* atomic, so not under the lock */

	int			num_waiters;	/* how many have no slot yet */
	WalredoSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WalredoPool;

#define WalredoPoolWaiters(pool) \
	((WalredoWaiter *) ((char *) (pool) + (pool)->waiters_offset))

/* How many of the slots may have a child now. */
#define WalredoPoolUsableSlots(pool) \
	((pool)->is_private ? (pool)->num_slots : \
	 Min((pool)->num_slots, walredo_pool_size))

/* True if the slot has a child that serves this database and role. */
#define WalredoSlotServes(slot, db, rol) \
	((slot)->child_number != 0 && \
	 (slot)->database == (db) && (slot)->role == (rol))

/*
 * Has the server reserve memory for a pool, and make it there at its start.  To
 * be called while shared_preload_libraries are loaded.
 */
extern void walredo_pool_request_shmem(void);

extern void walredo_pool_register_tranche(void);
extern WalredoPool *walredo_pool_in_shmem(void);
extern Size walredo_pool_shared_size(int num_slots, int max_waiters);
extern void walredo_pool_shared_init(WalredoPool *pool, bool is_private,
									 int num_slots, int max_waiters);
extern void walredo_pool_wake_worker(WalredoPool *pool);
extern void walredo_pool_wake_backends(WalredoPool *pool);
extern WalredoWaiter *walredo_pool_first_waiter(WalredoPool *pool);
extern void walredo_pool_slot_free(WalredoPool *pool, int slotno);

/*
 * The directory of private pools.  It can be locked without a pool; all others
 * must be called with it locked.
 *
 * find gives the pool of the session whose backend has that process ID, and
 * DSM_HANDLE_INVALID if there is none.  enter adds one that has one user; it
 * does nothing if there is no room, and then no other process of the session
 * will find it.  join and leave count users; leave is true if there are no
 * others, and forgets the pool then.  forget does so in any case.  None of them
 * minds a pool that is not there.
 */
extern void walredo_directory_lock(void);
extern void walredo_directory_unlock(void);
extern dsm_handle walredo_directory_find(pid_t session_pid);
extern void walredo_directory_enter(pid_t session_pid, dsm_handle handle);
extern void walredo_directory_join(dsm_handle handle);
extern bool walredo_directory_leave(dsm_handle handle);
extern void walredo_directory_forget(dsm_handle handle);

#endif							/* WALREDO_POOL_SHARED_H */
