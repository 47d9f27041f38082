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
 * A pool in a dynamic segment is called private.  It serves one session, that
 * is, a backend and its parallel workers; whichever of these processes needs
 * it first makes it.  The others find it by the backend's process ID, in a
 * directory in the server's main shared memory.  The last of them to end tells
 * the pool's worker to end.
 *
 * Each child has a slot, and each slot is in one of the states below.  A
 * backend that uses the child of a slot, or waits for it, is the owner of the
 * slot.  It waits for a slot only while it owns none; otherwise two backends
 * might wait for each other.  A child serves one role in one database.
 * It is never used for another role or database, since redo of a broken record
 * may leave anything in its memory.
 *
 *	EMPTY		There is no child, and no owner.
 *	LAUNCHING	The owner waits while the worker starts a child.  If there is
 *				no owner, a backend that has a child could use one more.
 *	REPLACING	As LAUNCHING, but there still is a child, which served another
 *				database or role.  The worker kills that first.
 *	BUSY		The owner, and no other process, may use the child's pipes.
 *	IDLE		There is no owner.  The child waits for a request of the
 *				database and role that it serves.
 *	DOOMED		The worker must kill the child, because it may be in the middle
 *				of a request, or is not wanted any more.  If there is an owner,
 *				it waits to learn how the child ended.
 *	DEAD		The child is reaped, or could not be started.  The owner reads
 *				how it ended, and lets the slot go.
 *
 * These functions make the moves.  Those of slots.c, marked (b), run in a
 * backend, and those of worker.c, marked (w), in the worker.  Both call
 * walredo_pool_pass_on_slot() of shared.c, marked (s), when they have made a
 * slot IDLE or EMPTY; the worker also calls it for a slot that has been so for
 * a while.
 *
 *	EMPTY -> LAUNCHING		take_slot() (b), walredo_pool_pass_on_slot() (s)
 *	IDLE -> REPLACING		take_slot() (b), walredo_pool_pass_on_slot() (s)
 *	IDLE -> BUSY			take_slot() (b), walredo_pool_pass_on_slot() (s)
 *	REPLACING -> LAUNCHING	child_gone() (w)
 *	EMPTY -> LAUNCHING		walredo_slot_try() (b), without an owner
 *	IDLE -> BUSY			walredo_slot_try() (b)
 *	LAUNCHING -> BUSY		read_first_answer() (w), if there is an owner
 *	LAUNCHING -> IDLE		read_first_answer() (w), if there is none
 *	LAUNCHING -> DEAD		child_gone() (w): the child could not be started, or
 *							the worker is ending; EMPTY if there is no owner
 *	BUSY -> IDLE			walredo_slot_release() (b)
 *	BUSY -> DEAD			child_gone() (w): the child ended by itself, closed
 *							standard error or wrote too much to it, or the
 *							worker is ending
 *	any state with an		await_reaping() (b), which stays the owner, and
 *	  owner except DEAD		walredo_slot_abandon() (b), which does not; the
 *	  -> DOOMED				state may be DOOMED already
 *	IDLE -> DOOMED			check_idle_slot() (w): the child has been idle for
 *							too long, or the pool has become smaller;
 *							walredo_pool_pass_on_slot() (s): the latter;
 *							child_gone() (w): as for BUSY -> DEAD
 *	DOOMED -> DEAD			child_gone() (w), if there is an owner
 *	DOOMED -> EMPTY			child_gone() (w), if there is none
 *	DEAD -> EMPTY			await_reaping(), walredo_slot_abandon() and
 *							walredo_slot_release() (b)
 *
 * A slot that becomes IDLE or EMPTY while backends wait for one goes to the
 * backend that has waited longest.
 *
 * Locking: pool->lock protects everything but what is set once before the
 * worker starts.  It is held for a few instructions at a time, and never while
 * waiting; no system calls are made under it but to set a latch or to read the
 * clock.  The directory has a lock of its own, which is held while a session's
 * pool is looked for, made or left.  A process that needs both locks takes the
 * directory's first.
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

/*
 * How long backends go on to wait for each other's child before another one is
 * started for them, in milliseconds: some times what that takes.
 */
#define WALREDO_LAUNCH_PATIENCE_MS	25

/* How many of the last bytes that a child wrote to standard error are kept. */
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
	int			exit_status;	/* from waitpid(); only for CHILD_EXITED */

	/*
	 * True if the child was killed, or did not start, only because the worker
	 * was ending, so that nothing was wrong with the child.  False for
	 * CHILD_EXITED.
	 */
	bool		with_worker;

	uint64		requests;		/* how many it had answered */

	/* The end of what it wrote to standard error, a string. */
	char		stderr_tail[WALREDO_STDERR_TAIL_SIZE];
} WalredoChildEnd;

typedef struct WalredoSlot
{
	WalredoSlotState state;

	/* The owner; zero and NULL if there is none. */
	pid_t		owner_pid;
	Latch	   *owner_latch;

	/*
	 * Of the slots of one owner, the one whose child's pipes it asks the
	 * worker for.
	 */
	bool		wants_pipes;

	/*
	 * The database and role that the child serves; in SLOT_REPLACING, those
	 * that the next child will serve.  title has their names, as they were
	 * when the owner looked them up.
	 */
	Oid			database;
	Oid			role;
	char		title[WALREDO_TITLE_SIZE];

	/*
	 * The child.  No other child that the pool has had has the same number.
	 * Number and process ID are 0 if there is no child, or if it has not
	 * answered its first ping yet; the rest is undefined then.
	 */
	uint64		child_number;
	pid_t		child_pid;
	TimestampTz launched_at;
	TimestampTz last_redo_at;	/* 0 if it has answered nothing yet */
	TimestampTz idle_since;		/* only in SLOT_IDLE */
	uint64		requests;		/* how many it has answered */
	uint64		records;		/* how many records these had */

	/* What the worker counts when it kills the child; only in SLOT_DOOMED. */
	WalredoCounter kill_cause;

	/* How the child ended; only in SLOT_DEAD. */
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
} WalredoWaiter;

typedef struct WalredoPool
{
	LWLock		lock;

	/* The worker.  Zero and NULL while there is none. */
	pid_t		worker_pid;
	Latch	   *worker_latch;

	/*
	 * The life of a private pool.  Each of these is set once, and never
	 * cleared.  The first is set by the worker when it has been started.  The
	 * second is set by a process of the session: the worker must end, and no
	 * process may use the pool any more.  The third is set by the worker when
	 * it is about to exit and has reaped its child.
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

	/*
	 * Since when each slot that became free, if any, was wanted by a backend
	 * that was waiting already, counted from the last launch at the earliest;
	 * 0 if nobody waited when a slot became free last, or if the last one
	 * that waited has given up.
	 */
	TimestampTz crowded_since;

	WalredoSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WalredoPool;

#define WalredoPoolWaiters(pool) \
	((WalredoWaiter *) ((char *) (pool) + (pool)->waiters_offset))

/* How many of the slots may have a child now. */
#define WalredoPoolUsableSlots(pool) \
	((pool)->is_private ? (pool)->num_slots : \
	 Min((pool)->num_slots, walredo_pool_size))

/*
 * True if a slot that is IDLE or EMPTY has a child that serves this database
 * and role.
 */
#define WalredoSlotServes(slot, db, rol) \
	((slot)->child_number != 0 && \
	 (slot)->database == (db) && (slot)->role == (rol))

/*
 * Has the server reserve memory for a pool, and make it there at its start.  To
 * be called while shared_preload_libraries are loaded.
 */
extern void walredo_pool_request_shmem(void);

/* Names the lock of pools in what this process shows as its wait event. */
extern void walredo_pool_register_tranche(void);

/* The pool of a server that has preloaded the library, else NULL. */
extern WalredoPool *walredo_pool_in_shmem(void);

/* How many bytes a pool takes, and how it is initialized in them. */
extern Size walredo_pool_shared_size(int num_slots, int max_waiters);
extern void walredo_pool_shared_init(WalredoPool *pool, bool is_private,
									 int num_slots, int max_waiters);

/*
 * This and the next three functions must be called with pool->lock held, the
 * last of them exclusively.
 *
 * Makes the worker look at the slots.  A worker that is not there yet does so
 * when it starts.
 */
extern void walredo_pool_wake_worker(WalredoPool *pool);

/*
 * Makes all backends that wait for a slot, or for the child in theirs, look at
 * the pool.
 */
extern void walredo_pool_wake_backends(WalredoPool *pool);

/*
 * Of the backends that wait for a slot, the one that has waited longest; NULL
 * if none waits.
 */
extern WalredoWaiter *walredo_pool_first_waiter(WalredoPool *pool);

/*
 * Takes a slot that is IDLE or EMPTY from its owner, if it still has one.  If
 * backends wait for a slot, makes the one that has waited longest the owner:
 * the slot becomes BUSY if its child serves that backend's database and role,
 * and LAUNCHING or REPLACING if not.  If the pool has become smaller than the
 * number of the slot, the slot is given to nobody, and an idle child is DOOMED.
 */
extern void walredo_pool_pass_on_slot(WalredoPool *pool, int slotno);

/*
 * The directory of private pools.  All functions but lock must be called while
 * it is locked.  They do nothing if the directory does not have the pool.
 *
 * find returns the pool of the session whose backend has that process ID, and
 * DSM_HANDLE_INVALID if there is none.  enter adds a pool, which has one user;
 * if there is no room, no other process of the session will find the pool.
 *
 * join and leave count the users of a pool.  leave returns true if the caller
 * was the last one, and removes the pool from the directory then; it also
 * returns true if the directory does not have the pool.  forget removes a pool
 * that still has users.
 */
extern void walredo_directory_lock(void);
extern void walredo_directory_unlock(void);
extern dsm_handle walredo_directory_find(pid_t session_pid);
extern void walredo_directory_enter(pid_t session_pid, dsm_handle handle);
extern void walredo_directory_join(dsm_handle handle);
extern bool walredo_directory_leave(dsm_handle handle);
extern void walredo_directory_forget(dsm_handle handle);

#endif							/* WALREDO_POOL_SHARED_H */
