/*-------------------------------------------------------------------------
 *
 * agggroup.h
 *	  The groups of walredo_apply_agg(): a header private to this room.
 *
 * The functions are in aggfuncs.c.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/agggroup.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_AGGGROUP_H
#define WALREDO_AGGGROUP_H

#include "postgres.h"

#include "redo/replay.h"

/* Is an aggregate walredo_apply_agg(), in whatever schema? */
extern bool walredo_is_apply_agg(Oid aggfnoid);

/*
 * The records of a group, which are applied to the image of one page.  A group
 * that has no records is NULL.  All that belongs to a group is in one memory
 * context, and is freed with it.
 */
typedef struct WalredoApplyGroup WalredoApplyGroup;

/*
 * Adds the record of a row to a group, and returns the group, which is made in
 * the context if it was NULL.  args are the tag, the base image and the record;
 * a row without a record is ignored.
 *
 * ERROR 22023 if the tag is null, if the tag or the base image is not that of
 * the rows before, or if the LSN of the record is less than that of the one
 * before.
 *
 * If the group's records take more than work_mem, they are replayed.  stream
 * is finished before that, as nothing else may need a child at the same time;
 * NULL if there is none.  Raises what walredo_replay() does.
 */
extern WalredoApplyGroup *walredo_apply_group_add(WalredoApplyGroup *group,
												  MemoryContext context,
												  const NullableDatum *args,
												  WalredoReplayStream *stream);

/*
 * Has the records of a group replayed by a stream, whose function to take
 * pages is walredo_apply_group_take().  page is room for the result, of
 * VARHDRSZ + BLCKSZ bytes, which must stay as long as the group.  The group
 * must stay until the stream has been finished, and no records may be added to
 * it any more.  Raises the errors of walredo_replay_add_run().
 */
extern void walredo_apply_group_send(WalredoApplyGroup *group,
									 WalredoReplayStream *stream,
									 bytea *page);
extern void walredo_apply_group_take(void *job, const char *page);

/*
 * The page after all records of a group: the one that a stream has returned, or
 * if there is none, replays the records now, which may need a child.  It is
 * what walredo_apply_group_send() was given, or palloc'd.  Raises what
 * walredo_replay() does.
 */
extern bytea *walredo_apply_group_page(WalredoApplyGroup *group);

#endif							/* WALREDO_AGGGROUP_H */
