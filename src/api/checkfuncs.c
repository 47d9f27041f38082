/*-------------------------------------------------------------------------
 *
 * checkfuncs.c
 *	  The procedure walredo_check(), which checks a database on a schedule.
 *
 * A check verifies relations as walredo_verify_all() does, but is made to be
 * called again and again.  It commits as it goes, and keeps what it has found
 * in the table walredo_damage, and how far it has come in the table
 * _walredo_checked.
 *
 * A relation that was checked before needs to be looked at only where WAL has
 * changed it.  What remains to be checked of it is told by an LSN, "since": the
 * redo point of the last checkpoint that had been completed when it was
 * checked. All of its blocks that WAL names from there on are verified.  This
 * is earlier than the end of the WAL that was read then, for two reasons.  From
 * a redo point on, WAL has an image of each page with its first change, so that
 * most of these blocks can be rebuilt.  And pages that were changed after the
 * redo point of a complete checkpoint need not have been written yet when they
 * were verified, so that the write could still be lost afterwards.
 *
 * A full check verifies all blocks.  It reads all WAL that there is for a batch
 * of relations, and a batch is as large as the WAL that has to be read for it,
 * so that no more than half of the work is lost if it is interrupted, and no
 * more than twice as much is read as for all relations at once.
 *
 * Blocks that were damaged when they were last verified are looked at again in
 * any case, as WAL need not name them when they are repaired.  What was
 * repaired by walredo_repair() is known from what is kept of repairs, which
 * also tells if damage is over that WAL has, too.
 *
 * A database that was copied from another one has copies of both tables.  What
 * they say of the other database's files is not true of this one's: see
 * forget_other_databases().
 *
 * All statements are run with a search_path of pg_catalog alone, and the
 * extension's own tables are named with the schema that they are in.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/checkfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "api/api.h"
#include "catalog/pg_control.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/relpath.h"
#include "compat.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/cost_delay.h"
#include "page/links.h"
#include "page/verify.h"
#include "pool/client.h"
#include "record/tag.h"
#include "repair/kept.h"
#include "stats/stats.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "wal/reader.h"

WALREDO_LONG_FUNCTION(walredo_check, WALREDO_COMMAND_CHECK)

/*
 * How many blocks that were damaged before one check looks at again, unless it
 * is a full one.
 */
#define MAX_SEEN_AGAIN	100

static const char *const damage_names[] = {
	[WALREDO_DAMAGE_CONTENTS] = "contents",
	[WALREDO_DAMAGE_LOST_WRITE] = "lost write",
	[WALREDO_DAMAGE_ZEROED] = "zeroed",
	[WALREDO_DAMAGE_LSN] = "LSN",
	[WALREDO_DAMAGE_MISSING] = "missing",
	[WALREDO_DAMAGE_UNREADABLE] = "unreadable",
	[WALREDO_DAMAGE_DISK] = "contents"
};

/* Where damage was found, for the table. */
static inline const char *
place_of_damage(WalredoDamage damage)
{
	return damage == WALREDO_DAMAGE_DISK ? "disk" : "server";
}

/* What is known of a relation, or with InvalidOid, of the whole database. */
typedef struct CheckedRelation
{
	Oid			relid;			/* hash key */
	XLogRecPtr	since;			/* or InvalidXLogRecPtr: never checked */
	TimestampTz full_at;		/* when it was last verified in full, or 0 */
	TimestampTz full_begun_at;	/* of the whole database only: when a full
								 * check was begun that is not finished, or 0 */
} CheckedRelation;

/* One call of walredo_check(). */
typedef struct Check
{
	List	   *relids;			/* to be checked */
	bool		is_whole;		/* they are all that the database has */
	bool		is_full;
	bool		from_disk;		/* as in WalredoVerifyOptions */
	const char *directory;		/* as for walredo_reader_begin() */

	char	   *damage;			/* name of the table walredo_damage */
	char	   *checked;		/* name of the table _walredo_checked */

	TimestampTz begun_at;
	XLogRecPtr	begin_lsn;		/* end of WAL then */
	XLogRecPtr	redo_lsn;		/* redo point of the last checkpoint then */
	bool		had_images;		/* full_page_writes was on at that checkpoint */

	HTAB	   *known;			/* of CheckedRelation */
	CheckedRelation database;	/* the one of the whole database */

	HTAB	   *repairs;		/* of LastRepair, or NULL: not needed so far */

	MemoryContext step;			/* is reset after each transaction */
	MemoryContext row;			/* is reset after each damaged block */

	/* Results of a fork that is not done with. */
	Tuplestorestate *results;
	TupleTableSlot *slot;
	uint64		num_results;	/* of blocks, damaged or not */
	uint64		num_unknown;	/* those of them that were unverifiable */

	/* The sum of both, of forks that are done with. */
	uint64		num_verified;
	uint64		num_unverifiable;
} Check;

/* Columns of Check.results. */
typedef enum ResultColumn
{
	RESULT_RELATION,
	RESULT_FORK,
	RESULT_BLKNO,
	RESULT_DAMAGE,
	RESULT_PAGE_LSN,
	RESULT_DETAIL
} ResultColumn;

#define NUM_RESULT_COLUMNS	(RESULT_DETAIL + 1)

/* ----------------------------------------
 * Statements
 * ----------------------------------------
 */

#define MAX_STATEMENT_ARGS	11

/* Arguments of a statement. */
typedef struct StatementArgs
{
	int			num;
	Oid			types[MAX_STATEMENT_ARGS];
	Datum		values[MAX_STATEMENT_ARGS];
	char		nulls[MAX_STATEMENT_ARGS];
} StatementArgs;

static void
add_arg(StatementArgs *args, Oid type, Datum value, bool isnull)
{
	Assert(args->num < MAX_STATEMENT_ARGS);
	args->types[args->num] = type;
	args->values[args->num] = value;
	args->nulls[args->num] = isnull ? 'n' : ' ';
	args->num++;
}

static void
add_lsn_arg(StatementArgs *args, XLogRecPtr lsn)
{
	add_arg(args, PG_LSNOID, LSNGetDatum(lsn), XLogRecPtrIsInvalid(lsn));
}

static void
add_time_arg(StatementArgs *args, TimestampTz time)
{
	add_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(time), time == 0);
}

static void
add_text_arg(StatementArgs *args, const char *text)
{
	add_arg(args, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0,
			text == NULL);
}

static void
add_block_arg(StatementArgs *args, BlockNumber blkno)
{
	add_arg(args, INT8OID, Int64GetDatum((int64) blkno),
			!BlockNumberIsValid(blkno));
}

static void
add_relations_arg(StatementArgs *args, List *relids, bool isnull)
{
	Datum	   *oids = MemoryContextAllocHuge(CurrentMemoryContext,
											  Max(list_length(relids), 1) *
											  sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, relids)
		oids[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	add_arg(args, OIDARRAYOID,
			PointerGetDatum(construct_array(oids, n, OIDOID, sizeof(Oid), true,
											TYPALIGN_INT)), isnull);
}

/* Runs a statement.  Its rows are in SPI_tuptable. */
static void
run_statement(const char *sql, StatementArgs *args)
{
	int			nest_level = NewGUCNestLevel();
	int			result;

	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	result = SPI_execute_with_args(sql, args->num, args->types, args->values,
								   args->nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql,
			 SPI_result_code_string(result));
	AtEOXact_GUC(true, nest_level);
}

/* Commits, and begins another transaction. */
static void
commit_step(Check *check)
{
	SPI_commit();
	MemoryContextReset(check->step);
}

/*
 * Lets go of the snapshots of statements and of catalog look-ups, as a commit
 * does.  Else VACUUM could remove nothing for as long as WAL is read, and
 * relations are verified.
 */
static void
release_snapshots(void)
{
	ForgetPortalSnapshots();
	InvalidateCatalogSnapshotConditionally();
}

/* ----------------------------------------
 * What has been repaired
 * ----------------------------------------
 */

/* The last repair of a block. */
typedef struct LastRepair
{
	WalredoTag	tag;			/* hash key */
	XLogRecPtr	image_lsn;
	TimestampTz finished_at;
	bool		is_undo;
} LastRepair;

/* The argument of read_repair(). */
typedef struct RepairAttempt
{
	int64		id;
	WalredoKept *kept;			/* or NULL: it is gone */
} RepairAttempt;

static void
read_repair(void *arg)
{
	RepairAttempt *work = arg;

	work->kept = walredo_kept_read(work->id);
}

/* Gets the last repair of each block.  What cannot be read is left out. */
static void
load_repairs(Check *check)
{
	HASHCTL		ctl = {0};
	MemoryContext context;
	MemoryContext old_context;
	List	   *ids;
	ListCell   *lc;

	ctl.keysize = sizeof(WalredoTag);
	ctl.entrysize = sizeof(LastRepair);
	ctl.hcxt = GetMemoryChunkContext(check);
	check->repairs = hash_create("walredo repairs", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ids = walredo_kept_ids();
	context = AllocSetContextCreate(CurrentMemoryContext, "walredo repair",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	foreach(lc, ids)
	{
		RepairAttempt work = {*(int64 *) lfirst(lc), NULL};

		CHECK_FOR_INTERRUPTS();
		if (walredo_attempt(read_repair, &work) == NULL && work.kept != NULL &&
			work.kept->is_done && work.kept->tag.kind == WALREDO_TAG_REL)
		{
			LastRepair *last = hash_search(check->repairs, &work.kept->tag,
										   HASH_ENTER, NULL);

			last->image_lsn = work.kept->image_lsn;
			last->finished_at = work.kept->finished_at;
			last->is_undo = (work.kept->undo_of != 0);
		}
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	list_free_deep(ids);
}

/*
 * Returns when a block was repaired, if that was after an LSN, and has not been
 * undone; or 0.
 */
static TimestampTz
repaired_since(Check *check, const WalredoTag *tag, XLogRecPtr lsn)
{
	LastRepair *last;

	if (check->repairs == NULL)
		load_repairs(check);
	last = hash_search(check->repairs, tag, HASH_FIND, NULL);
	return last != NULL && !last->is_undo && last->image_lsn >= lsn ?
		last->finished_at : 0;
}

/* ----------------------------------------
 * What is found
 * ----------------------------------------
 */

/* The argument of get_name(). */
typedef struct NameAttempt
{
	Oid			relid;
	char	   *name;
} NameAttempt;

static void
get_name(void *arg)
{
	NameAttempt *work = arg;

	work->name = get_rel_name(work->relid);
}

/* The name of a relation, or its OID if its catalog entry cannot be read. */
static char *
name_of_relation(Oid relid)
{
	NameAttempt work = {relid, NULL};

	if (walredo_attempt(get_name, &work) == NULL && work.name != NULL)
		return work.name;
	return psprintf("%u", relid);
}

/* Puts damage into the table, and into the server log. */
static void
record_damage(Check *check, Oid relid, const char *fork, BlockNumber blkno,
			  const char *found_in, const char *kind, XLogRecPtr lsn,
			  XLogRecPtr page_lsn, const char *detail)
{
	MemoryContext old_context = MemoryContextSwitchTo(check->row);
	StatementArgs args = {0};
	char	   *name = name_of_relation(relid);

	add_arg(&args, REGCLASSOID, ObjectIdGetDatum(relid), false);
	add_text_arg(&args, fork);
	add_block_arg(&args, blkno);
	add_text_arg(&args, found_in);
	add_text_arg(&args, kind);
	add_lsn_arg(&args, lsn);
	add_lsn_arg(&args, page_lsn);
	add_text_arg(&args, detail);
	add_lsn_arg(&args, check->begin_lsn);
	add_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	add_time_arg(&args, GetCurrentTimestamp());
	run_statement(psprintf("INSERT INTO %s AS d (database, relation, fork, blkno, found_in, kind, lsn, page_lsn, detail, first_seen, last_seen, seen_lsn)"
						   " SELECT $10, $1, $2, $3, $4, $5, $6, $7, $8, $11, $11, $9"
						   " WHERE NOT EXISTS (SELECT FROM %s o WHERE o.relation = $1 AND o.fork = $2 AND o.blkno = $3"
						   " AND o.found_in = $4 AND o.lsn = $6 AND o.repaired_at IS NOT NULL)"
						   " ON CONFLICT (relation, fork, blkno, found_in, lsn) WHERE repaired_at IS NULL"
						   " DO UPDATE SET kind = excluded.kind, page_lsn = excluded.page_lsn, detail = excluded.detail,"
						   " last_seen = excluded.last_seen, seen_lsn = excluded.seen_lsn",
						   check->damage, check->damage), &args);

	/* What is wrong in WAL stays there when the page has been repaired. */
	if (SPI_processed > 0)
	{
		walredo_count(STAT_DAMAGED_BLOCKS, 1);
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 BlockNumberIsValid(blkno) ?
				 errmsg("block %u of fork \"%s\" of relation \"%s\" is damaged",
						blkno, fork, name) :
				 errmsg("fork \"%s\" of relation \"%s\" is damaged", fork,
						name),
				 errdetail_internal("%s", detail)));
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(check->row);
}

/* A WalredoVerifySink's report: keeps a mismatch until the fork is done. */
static void
keep_result(const WalredoVerifyResult *result, void *arg)
{
	Check	   *check = arg;
	Datum		values[NUM_RESULT_COLUMNS];
	bool		nulls[NUM_RESULT_COLUMNS] = {0};

	if (BlockNumberIsValid(result->blkno))
		check->num_results++;
	if (BlockNumberIsValid(result->blkno) &&
		result->status == WALREDO_VERIFY_UNVERIFIABLE)
		check->num_unknown++;
	if (result->status != WALREDO_VERIFY_MISMATCH)
		return;
	values[RESULT_RELATION] = ObjectIdGetDatum(result->relid);
	values[RESULT_FORK] = Int32GetDatum(result->forknum);
	values[RESULT_BLKNO] = Int64GetDatum((int64) result->blkno);
	values[RESULT_DAMAGE] = Int32GetDatum(result->damage);
	values[RESULT_PAGE_LSN] = LSNGetDatum(result->page_lsn);
	values[RESULT_DETAIL] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(check->results,
						 check->slot->tts_tupleDescriptor, values, nulls);
}

/* A WalredoVerifySink's end_fork: records mismatches, or forgets them. */
static void
record_results(bool keep, void *arg)
{
	Check	   *check = arg;

	if (keep)
	{
		check->num_verified += check->num_results;
		check->num_unverifiable += check->num_unknown;
	}
	check->num_results = check->num_unknown = 0;
	while (keep &&
		   tuplestore_gettupleslot(check->results, true, false, check->slot))
	{
		MemoryContext old_context = MemoryContextSwitchTo(check->row);
		Datum	   *values;
		char	   *detail;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(check->slot);
		values = check->slot->tts_values;
		detail = TextDatumGetCString(values[RESULT_DETAIL]);
		MemoryContextSwitchTo(old_context);
		record_damage(check, DatumGetObjectId(values[RESULT_RELATION]),
					  forkNames[DatumGetInt32(values[RESULT_FORK])],
					  (BlockNumber) DatumGetInt64(values[RESULT_BLKNO]),
					  place_of_damage(DatumGetInt32(values[RESULT_DAMAGE])),
					  damage_names[DatumGetInt32(values[RESULT_DAMAGE])],
					  InvalidXLogRecPtr,
					  DatumGetLSN(values[RESULT_PAGE_LSN]), detail);
	}
	tuplestore_clear(check->results);
	release_snapshots();
}

/* ----------------------------------------
 * What has been checked
 * ----------------------------------------
 */

/*
 * Forgets what the tables have of another database, if CREATE DATABASE has
 * copied them from there.  That it has been checked says nothing of this one's
 * files.  Its damaged pages were copied as they were, and perhaps logged, so
 * that WAL has them, too, and only the administrator can tell what has become
 * of them.
 */
static void
forget_other_databases(Check *check)
{
	StatementArgs args = {0};

	add_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	run_statement(psprintf("DELETE FROM %s WHERE database <> $1",
						   check->checked), &args);
	run_statement(psprintf("DELETE FROM %s WHERE database <> $1 AND found_in = 'disk'",
						   check->damage), &args);
	run_statement(psprintf("UPDATE %s SET database = $1, found_in = 'WAL',"
						   " lsn = COALESCE(lsn, seen_lsn),"
						   " detail = 'The block was damaged in the database that this one was copied from. ' || detail"
						   " WHERE database <> $1 AND repaired_at IS NULL",
						   check->damage), &args);
	run_statement(psprintf("UPDATE %s SET database = $1 WHERE database <> $1",
						   check->damage), &args);
}

/* Gets what earlier checks have left. */
static void
load_known(Check *check)
{
	HASHCTL		ctl = {0};
	StatementArgs args = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(CheckedRelation);
	ctl.hcxt = CurrentMemoryContext;
	check->known = hash_create("walredo checked relations", 256, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	forget_other_databases(check);
	run_statement(psprintf("SELECT relation, since, full_at, full_begun_at FROM %s",
						   check->checked), &args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		HeapTuple	tuple = SPI_tuptable->vals[i];
		CheckedRelation entry = {0};
		CheckedRelation *known;
		bool		isnull[4];
		Datum		values[4];

		for (int j = 0; j < lengthof(values); j++)
			values[j] = SPI_getbinval(tuple, tupdesc, j + 1, &isnull[j]);
		entry.relid = DatumGetObjectId(values[0]);
		if (!isnull[1])
			entry.since = DatumGetLSN(values[1]);
		if (!isnull[2])
			entry.full_at = DatumGetTimestampTz(values[2]);
		if (!isnull[3])
			entry.full_begun_at = DatumGetTimestampTz(values[3]);

		/* It cannot be from this system, or this history of it. */
		if (entry.since > check->begin_lsn)
			entry.since = InvalidXLogRecPtr;
		if (!OidIsValid(entry.relid))
			check->database = entry;
		known = hash_search(check->known, &entry.relid, HASH_ENTER, NULL);
		*known = entry;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* From where on a relation is still to be checked, or InvalidXLogRecPtr. */
static XLogRecPtr
known_since(const Check *check, Oid relid)
{
	const CheckedRelation *known = hash_search(check->known, &relid,
											   HASH_FIND, NULL);

	/*
	 * If the whole database was checked, this one is one of those that were
	 * there, or all of it is in WAL since then.
	 */
	return Max(check->database.since,
			   known ? known->since : InvalidXLogRecPtr);
}

/* Must all blocks of a relation be verified? */
static bool
needs_full_check(const Check *check, Oid relid)
{
	const CheckedRelation *known = hash_search(check->known, &relid,
											   HASH_FIND, NULL);

	if (known_since(check, relid) == InvalidXLogRecPtr)
		return true;
	if (!check->is_full)
		return false;

	/* Unless that was done before the check was interrupted. */
	return !check->is_whole || known == NULL ||
		known->full_at < check->database.full_begun_at;
}

/* Takes note that relations have been checked, in full or not. */
static void
save_checked(Check *check, List *relids, XLogRecPtr since, bool is_full)
{
	StatementArgs args = {0};

	add_relations_arg(&args, relids, false);
	add_lsn_arg(&args, since);
	add_time_arg(&args, is_full ? GetCurrentTimestamp() : 0);
	add_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	run_statement(psprintf("INSERT INTO %s AS c (database, relation, since, full_at)"
						   " SELECT $4, r, $2, $3 FROM pg_catalog.unnest($1) r"
						   " ON CONFLICT (database, relation) DO UPDATE SET since = excluded.since,"
						   " full_at = COALESCE(excluded.full_at, c.full_at)",
						   check->checked), &args);
}

/* The same for the whole database. */
static void
save_database(Check *check, const CheckedRelation *database)
{
	StatementArgs args = {0};

	add_lsn_arg(&args, database->since);
	add_time_arg(&args, database->full_at);
	add_time_arg(&args, database->full_begun_at);
	add_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	run_statement(psprintf("INSERT INTO %s AS c (database, relation, since, full_at, full_begun_at)"
						   " VALUES ($4, 0, $1, $2, $3)"
						   " ON CONFLICT (database, relation) DO UPDATE SET since = excluded.since,"
						   " full_at = excluded.full_at, full_begun_at = excluded.full_begun_at",
						   check->checked), &args);
	check->database = *database;
}

/* ----------------------------------------
 * Verification
 * ----------------------------------------
 */

/* Verifies relations: all blocks, or those that WAL names since an LSN. */
static void
verify_relations(Check *check, List *relids, XLogRecPtr since)
{
	WalredoVerifySink sink = {keep_result, record_results, check};
	WalredoVerifyOptions options = {
		.directory = check->directory,
		.since = since,

		/*
		 * A page that was written and lost is right in shared buffers for
		 * some time.  Once it is read again, and changed, its next image
		 * hides that.  So see what is in the file now.
		 */
		.from_disk = check->from_disk || since != InvalidXLogRecPtr
	};
	TupleDesc	tupdesc = CreateTemplateTupleDesc(NUM_RESULT_COLUMNS);
	WalredoVerifyFork *forks;
	int			nforks = 0;

	TupleDescInitEntry(tupdesc, RESULT_RELATION + 1, NULL, OIDOID, -1, 0);
	TupleDescInitEntry(tupdesc, RESULT_FORK + 1, NULL, INT4OID, -1, 0);
	TupleDescInitEntry(tupdesc, RESULT_BLKNO + 1, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(tupdesc, RESULT_DAMAGE + 1, NULL, INT4OID, -1, 0);
	TupleDescInitEntry(tupdesc, RESULT_PAGE_LSN + 1, NULL, PG_LSNOID, -1, 0);
	TupleDescInitEntry(tupdesc, RESULT_DETAIL + 1, NULL, TEXTOID, -1, 0);
	TupleDescFinalize(tupdesc);
	check->results = tuplestore_begin_heap(false, false, work_mem);
	check->slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);

	forks = walredo_logged_forks_of(relids, &nforks);
	walredo_verify_forks(forks, nforks, &options, &sink);
	ExecDropSingleTupleTableSlot(check->slot);
	tuplestore_end(check->results);
}

/* The argument of find_wal() and measure_relation(). */
typedef struct LookAttempt
{
	const char *directory;
	XLogRecPtr	lsn;
	Oid			relid;
	BlockNumber nblocks;
} LookAttempt;

/* Begins to read WAL from an LSN on, and sets lsn to where it begins. */
static void
find_wal(void *arg)
{
	LookAttempt *work = arg;
	WalredoReader *reader =
		walredo_reader_begin(walredo_wal_with_local(work->directory),
							 work->lsn, WALREDO_END_OF_WAL);

	(void) walredo_reader_next(reader);
	work->lsn = walredo_reader_first_lsn(reader);
	walredo_reader_end(reader);
}

/* Is WAL from an LSN on there? */
static bool
has_wal_since(Check *check, XLogRecPtr since)
{
	LookAttempt work = {.directory = check->directory,.lsn = since};

	return walredo_attempt(find_wal, &work) == NULL;
}

static void
measure_relation(void *arg)
{
	LookAttempt *work = arg;
	Relation	rel = try_relation_open(work->relid, AccessShareLock);

	if (rel == NULL)
		return;
	work->nblocks = RelationGetNumberOfBlocks(rel);
	relation_close(rel, AccessShareLock);
}

/*
 * Takes relations from the beginning of a list, until they have as many blocks
 * as there is WAL to be read for them.
 */
static List *
next_batch(Check *check, List **relids)
{
	LookAttempt work = {.directory = check->directory,
	.lsn = WALREDO_START_OF_WAL};
	uint64		limit = 0;
	uint64		nblocks = 0;
	List	   *batch = NIL;

	/* If WAL cannot be read, verification is going to say so. */
	if (walredo_attempt(find_wal, &work) == NULL &&
		check->begin_lsn > work.lsn)
		limit = (check->begin_lsn - work.lsn) / BLCKSZ;
	while (*relids != NIL && (batch == NIL || nblocks < limit))
	{
		work.relid = linitial_oid(*relids);
		work.nblocks = 0;
		*relids = list_delete_first(*relids);
		batch = lappend_oid(batch, work.relid);
		if (walredo_attempt(measure_relation, &work) == NULL)
			nblocks += work.nblocks;
	}
	return batch;
}

/* ----------------------------------------
 * What WAL has wrong
 * ----------------------------------------
 */

/* The argument of find_relation(). */
typedef struct FindAttempt
{
	const WalredoTag *tag;
	Oid			relid;
} FindAttempt;

static void
find_relation(void *arg)
{
	FindAttempt *work = arg;

	work->relid = RelidByRelfilenumber(work->tag->spcOid,
									   work->tag->relNumber);
}

/*
 * Records a page that was logged after a lost write, unless it has been
 * repaired since.
 */
static void
record_link_in_context(Check *check, const WalredoBrokenLink *link)
{
	const WalredoTag *tag = &link->tag;
	FindAttempt work = {tag, InvalidOid};
	ErrorData  *error = walredo_attempt(find_relation, &work);

	if (error != NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("page \"%s\" is damaged",
						walredo_tag_to_cstring(tag)),
				 errdetail("Its relation cannot be looked up: %s. %s",
						   error->message, link->detail)));
		return;
	}

	/* The relation may have another file now, or be gone. */
	if (!OidIsValid(work.relid) ||
		(!check->is_whole && !list_member_oid(check->relids, work.relid)) ||
		repaired_since(check, tag, link->lsn) != 0)
		return;
	record_damage(check, work.relid, forkNames[tag->forknum],
				  (BlockNumber) tag->number, "WAL",
				  damage_names[link->page_lsn < link->expected_lsn ?
							   WALREDO_DAMAGE_LOST_WRITE : WALREDO_DAMAGE_LSN],
				  link->lsn, link->page_lsn, link->detail);
}

/* A WalredoLinkCallback. */
static void
record_link(const WalredoBrokenLink *link, void *arg)
{
	Check	   *check = arg;
	const WalredoTag *tag = &link->tag;
	MemoryContext context;
	MemoryContext old_context;

	if (tag->kind != WALREDO_TAG_REL ||
		(OidIsValid(tag->dbOid) && tag->dbOid != MyDatabaseId))
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "walredo link",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	record_link_in_context(check, link);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	release_snapshots();
}

/* Checks the images in WAL since an LSN, or in all WAL. */
static void
check_images(Check *check, XLogRecPtr since)
{
	char	   *directory = walredo_wal_with_local(check->directory);
	WalredoLinksResult result;

	walredo_links_check(directory, since, WALREDO_END_OF_WAL, NULL, 0,
						record_link, check, &result);
	commit_step(check);
}

/* ----------------------------------------
 * Damage that was found before
 * ----------------------------------------
 */

/* A block that was damaged, and what it is now. */
typedef struct SeenBlock
{
	WalredoVerifyFork fork;		/* blkno is 0 if ... */
	bool		is_fork;		/* ... the fork as a whole was damaged */
	bool		on_disk;		/* it was damaged in the file only */
	XLogRecPtr	seen_lsn;		/* it was damaged at this LSN */

	bool		has_result;
	bool		fork_is_bad;	/* nothing is known of the block */
	WalredoVerifyResult result;
	MemoryContext context;		/* of its detail */
} SeenBlock;

/* A WalredoVerifySink's report: keeps the result for the block, or fork. */
static void
keep_seen(const WalredoVerifyResult *result, void *arg)
{
	SeenBlock  *block = arg;

	if (!BlockNumberIsValid(result->blkno) &&
		result->status != WALREDO_VERIFY_OK)
		block->fork_is_bad = true;
	if (block->is_fork != !BlockNumberIsValid(result->blkno))
		return;
	block->has_result = true;
	block->result = *result;
	if (result->detail != NULL)
		block->result.detail = MemoryContextStrdup(block->context,
												   result->detail);
}

/* A WalredoVerifySink's end_fork. */
static void
end_seen(bool keep, void *arg)
{
	if (!keep)
		((SeenBlock *) arg)->has_result = false;
}

/* The argument of find_tag(). */
typedef struct TagAttempt
{
	Oid			relid;
	const char *fork;
	int64		blkno;
	WalredoTag	tag;
} TagAttempt;

static void
find_tag(void *arg)
{
	TagAttempt *work = arg;

	walredo_tag_of_relation(work->relid, work->fork, work->blkno, &work->tag);
}

/*
 * Takes note of blocks that walredo_repair() has repaired since they were seen
 * to be damaged.  Where WAL has the damage, too, nothing else tells.  A repair
 * of such a block is one to what it was before, as walredo_repair() refuses any
 * other.
 */
static void
record_repairs(Check *check)
{
	StatementArgs args = {0};
	SPITupleTable *found;
	uint64		nfound;

	add_relations_arg(&args, check->relids, check->is_whole);
	run_statement(psprintf("SELECT relation::oid, fork, blkno,"
						   " CASE found_in WHEN 'WAL' THEN lsn ELSE seen_lsn END, ctid"
						   " FROM %s WHERE repaired_at IS NULL AND blkno IS NOT NULL"
						   " AND ($1 IS NULL OR relation::oid = ANY ($1))",
						   check->damage), &args);
	found = SPI_tuptable;
	nfound = SPI_processed;
	for (uint64 i = 0; i < nfound; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(check->row);
		TagAttempt	work = {0};
		Datum		values[5];
		bool		isnull[5];
		TimestampTz repaired_at;

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < lengthof(values); j++)
			values[j] = SPI_getbinval(found->vals[i], found->tupdesc, j + 1,
									  &isnull[j]);
		work.relid = DatumGetObjectId(values[0]);
		work.fork = TextDatumGetCString(values[1]);
		work.blkno = DatumGetInt64(values[2]);
		if (!isnull[3] && walredo_attempt(find_tag, &work) == NULL &&
			(repaired_at = repaired_since(check, &work.tag,
										  DatumGetLSN(values[3]))) != 0)
		{
			StatementArgs update = {0};

			add_time_arg(&update, repaired_at);
			add_arg(&update, TIDOID, values[4], false);
			run_statement(psprintf("UPDATE %s SET repaired_at = $1 WHERE ctid = $2 AND repaired_at IS NULL",
								   check->damage), &update);
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(check->row);
	}
	SPI_freetuptable(found);
	commit_step(check);
}

/*
 * Takes note of what has become of a block that is not damaged any more, as far
 * as can be seen.
 *
 * If the server has logged an image of the page since it was seen to be
 * damaged, the page agrees with WAL because the damage is in WAL, too; unless
 * it had been repaired before, in another way than by walredo_repair(), which
 * cannot be told.
 */
static void
record_sound(Check *check, const SeenBlock *block)
{
	StatementArgs args = {0};

	add_arg(&args, REGCLASSOID, ObjectIdGetDatum(block->fork.relid), false);
	add_text_arg(&args, forkNames[block->fork.forknum]);
	add_block_arg(&args,
				  block->is_fork ? InvalidBlockNumber : block->fork.blkno);
	add_text_arg(&args, block->on_disk ? "disk" : "server");
	if (!block->on_disk && block->has_result &&
		block->result.start_lsn > block->seen_lsn)
	{
		add_text_arg(&args,
					 psprintf("WAL has logged the page anew at %X/%X, and the page agrees with that. The damage may be in WAL, too.",
							  LSN_FORMAT_ARGS(block->result.start_lsn)));
		run_statement(psprintf("UPDATE %s SET kind = 'logged', detail = $5"
							   " WHERE relation = $1 AND fork = $2 AND blkno IS NOT DISTINCT FROM $3"
							   " AND found_in = $4 AND repaired_at IS NULL",
							   check->damage), &args);
		return;
	}
	run_statement(psprintf("UPDATE %s SET repaired_at = pg_catalog.clock_timestamp()"
						   " WHERE relation = $1 AND fork = $2 AND blkno IS NOT DISTINCT FROM $3"
						   " AND found_in = $4 AND repaired_at IS NULL",
						   check->damage), &args);
}

static void
check_verifiable(void *arg)
{
	walredo_check_verifiable(*(Oid *) arg);
}

/* Does an error of check_verifiable() say that a relation is damaged? */
static bool
is_about_damage(const ErrorData *error)
{
	return error->sqlerrcode != ERRCODE_UNDEFINED_TABLE &&
		error->sqlerrcode != ERRCODE_WRONG_OBJECT_TYPE &&
		error->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED;
}

/*
 * Is there still such a relation?  If it cannot be opened because of damage, it
 * is.
 */
static bool
is_there(Oid relid)
{
	ErrorData  *error = walredo_attempt(check_verifiable, &relid);

	return error == NULL || is_about_damage(error);
}

/* Verifies a block that was damaged. */
static void
look_again(Check *check, SeenBlock *block)
{
	WalredoVerifySink sink = {keep_seen, end_seen, block};
	WalredoVerifyOptions options = {
		.directory = check->directory,
		.from_disk = block->on_disk
	};

	if (is_there(block->fork.relid))
		walredo_verify_forks(&block->fork, 1, &options, &sink);
	if (!block->has_result && block->fork_is_bad)
		return;
	if (!block->has_result || block->result.status == WALREDO_VERIFY_OK)
		record_sound(check, block);
	else if (block->result.status == WALREDO_VERIFY_MISMATCH)
		record_damage(check, block->fork.relid,
					  forkNames[block->fork.forknum],
					  block->is_fork ? InvalidBlockNumber : block->fork.blkno,
					  place_of_damage(block->result.damage),
					  damage_names[block->result.damage],
					  InvalidXLogRecPtr, block->result.page_lsn,
					  block->result.detail);
}

/*
 * Looks again at blocks of the relations that were damaged, and that this check
 * has not found damaged.  If there are many, and this is no full check, at some
 * of them, by chance.
 */
static void
look_at_damage(Check *check)
{
	StatementArgs args = {0};
	SeenBlock  *blocks;
	uint64		nblocks;

	add_relations_arg(&args, check->relids, check->is_whole);
	add_time_arg(&args, check->begun_at);
	add_arg(&args, INT4OID, Int32GetDatum(MAX_SEEN_AGAIN), check->is_full);
	run_statement(psprintf("SELECT relation::oid, fork, blkno, seen_lsn, found_in = 'disk' FROM %s"
						   " WHERE found_in IN ('server', 'disk') AND repaired_at IS NULL AND last_seen < $2"
						   " AND ($1 IS NULL OR relation::oid = ANY ($1))"
						   " ORDER BY pg_catalog.random() LIMIT $3",
						   check->damage), &args);
	nblocks = SPI_processed;
	blocks = MemoryContextAllocExtended(check->step,
										Max(nblocks, 1) * sizeof(SeenBlock),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < nblocks; i++)
	{
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		HeapTuple	tuple = SPI_tuptable->vals[i];
		SeenBlock  *block = &blocks[i];
		Datum		values[5];
		bool		isnull[5];

		for (int j = 0; j < lengthof(values); j++)
			values[j] = SPI_getbinval(tuple, tupdesc, j + 1, &isnull[j]);
		block->fork.relid = DatumGetObjectId(values[0]);
		block->fork.forknum =
			forkname_to_number(TextDatumGetCString(values[1]));
		block->is_fork = isnull[2];
		if (!isnull[2])
			block->fork.blkno = (BlockNumber) DatumGetInt64(values[2]);
		block->context = check->step;
		block->seen_lsn = DatumGetLSN(values[3]);
		block->on_disk = DatumGetBool(values[4]);
	}
	SPI_freetuptable(SPI_tuptable);
	for (uint64 i = 0; i < nblocks; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_again(check, &blocks[i]);
	}
	commit_step(check);
}

/* ----------------------------------------
 * The check
 * ----------------------------------------
 */

/* Begins a full check of the whole database, unless one is to be finished. */
static void
begin_full_check(Check *check)
{
	CheckedRelation database = check->database;

	if (!check->is_whole)
		return;
	if (check->database.since == InvalidXLogRecPtr ||
		check->database.full_begun_at != 0)
		check->is_full = true;
	if (!check->is_full || check->database.full_begun_at != 0)
		return;
	database.full_begun_at = check->begun_at;
	save_database(check, &database);
}

/*
 * Takes from a list the relations that have to be verified in full, because WAL
 * since they were checked has been removed, and adds them to *full.  Returns
 * those that are left.
 *
 * If the whole database is checked, this begins a full check, if none is to be
 * finished: what is not done with when it is interrupted is left to the next
 * one.
 */
static List *
give_up_changed(Check *check, List *relids, List **full)
{
	LookAttempt work = {.directory = check->directory,
	.lsn = WALREDO_START_OF_WAL};
	CheckedRelation database = check->database;
	List	   *left = NIL;
	ListCell   *lc;

	/* If WAL cannot be read, verification is going to say so. */
	if (walredo_attempt(find_wal, &work) != NULL)
		work.lsn = PG_UINT64_MAX;
	foreach(lc, relids)
	{
		if (known_since(check, lfirst_oid(lc)) >= work.lsn)
			left = lappend_oid(left, lfirst_oid(lc));
		else
			*full = list_append_unique_oid(*full, lfirst_oid(lc));
	}
	if (check->is_whole)
	{
		check->is_full = true;
		if (database.since < work.lsn)
			database.since = InvalidXLogRecPtr;
		if (database.full_begun_at == 0)
			database.full_begun_at = check->begun_at;
		save_database(check, &database);
	}
	commit_step(check);
	return left;
}

/* Says if a check of what WAL has changed has told little. */
static void
warn_of_missing_images(Check *check)
{
	if (check->num_unverifiable == 0 ||
		(fullPageWrites && check->had_images))
		return;
	ereport(WARNING,
			(errmsg("full_page_writes is off, or was off at the last checkpoint"),
			 errdetail("Of %llu blocks that WAL has changed since the last check, %llu could not be verified, as WAL has no images of them.",
					   (unsigned long long) check->num_verified,
					   (unsigned long long) check->num_unverifiable),
			 errhint("A check with full => true rebuilds blocks from a backup, too, if walredo.backup_directory has one.")));
}

/*
 * Checks the images in WAL since relations were checked before, or in all WAL
 * if this is a full check, and verifies what WAL has changed of them since.
 * Those for which that is not possible, because WAL has been removed, are added
 * to *full.
 */
static void
check_changed(Check *check, List *relids, List **full)
{
	XLogRecPtr	since = PG_UINT64_MAX;
	MemoryContext old_context;
	ListCell   *lc;

	foreach(lc, relids)
		since = Min(since, known_since(check, lfirst_oid(lc)));
	if (relids != NIL && !has_wal_since(check, since))
	{
		ereport(NOTICE,
				(errmsg("WAL since the last check is not available"),
				 errdetail("All blocks are verified, instead of those that WAL from %X/%X on has changed.",
						   LSN_FORMAT_ARGS(since))));
		relids = give_up_changed(check, relids, full);
		since = PG_UINT64_MAX;
		foreach(lc, relids)
			since = Min(since, known_since(check, lfirst_oid(lc)));
	}
	check_images(check, relids == NIL || *full != NIL || check->is_full ?
				 WALREDO_START_OF_WAL : since);
	if (relids == NIL)
		return;
	old_context = MemoryContextSwitchTo(check->step);
	verify_relations(check, relids, since);
	warn_of_missing_images(check);
	if (!check->is_whole)
		save_checked(check, relids, check->redo_lsn, false);
	else if (check->database.since != InvalidXLogRecPtr)
	{
		CheckedRelation database = check->database;

		database.since = check->redo_lsn;
		save_database(check, &database);
	}
	MemoryContextSwitchTo(old_context);
}

/* Verifies all blocks of relations, batch by batch. */
static void
check_in_full(Check *check, List *relids)
{
	while (relids != NIL)
	{
		XLogRecPtr	redo_lsn = walredo_last_redo_lsn();
		List	   *batch = next_batch(check, &relids);
		MemoryContext old_context = MemoryContextSwitchTo(check->step);

		check->begin_lsn = GetXLogInsertRecPtr();
		verify_relations(check, batch, InvalidXLogRecPtr);
		save_checked(check, batch, redo_lsn, true);
		MemoryContextSwitchTo(old_context);
		commit_step(check);
		list_free(batch);
	}
}

/* Takes note that the check has come to its end. */
static void
finish_check(Check *check)
{
	if (check->is_whole)
	{
		CheckedRelation database = check->database;
		StatementArgs args = {0};

		database.since = check->redo_lsn;
		if (check->is_full)
			database.full_at = GetCurrentTimestamp();
		database.full_begun_at = 0;
		save_database(check, &database);
		run_statement(psprintf("DELETE FROM %s WHERE relation <> 0",
							   check->checked), &args);

		/* Of this database, and for longer than walredo_stat knows. */
		run_statement(psprintf("UPDATE %s SET checked_at = pg_catalog.clock_timestamp()",
							   check->checked), &args);
	}
	commit_step(check);
	walredo_count(STAT_CHECKS, 1);
	pg_atomic_write_u64(&walredo_stats->checked_at,
						(uint64) GetCurrentTimestamp());
}

/* Was full_page_writes on at the last checkpoint? */
static bool
had_images_at_checkpoint(void)
{
	ControlFileData *control = walredo_read_control_file();
	bool		result = control->checkPointCopy.fullPageWrites;

	pfree(control);
	return result;
}

static void
run_check(Check *check)
{
	List	   *changed = NIL;
	List	   *full = NIL;
	MemoryContext old_context;
	ListCell   *lc;

	check->begun_at = GetCurrentTimestamp();
	check->redo_lsn = walredo_last_redo_lsn();
	check->begin_lsn = GetXLogInsertRecPtr();
	check->had_images = had_images_at_checkpoint();
	load_known(check);
	if (check->is_whole)
		check->relids = walredo_all_relations();
	begin_full_check(check);
	commit_step(check);
	record_repairs(check);

	foreach(lc, check->relids)
	{
		if (known_since(check, lfirst_oid(lc)) != InvalidXLogRecPtr)
			changed = lappend_oid(changed, lfirst_oid(lc));
		if (needs_full_check(check, lfirst_oid(lc)))
			full = lappend_oid(full, lfirst_oid(lc));
	}
	check_changed(check, changed, &full);
	commit_step(check);
	check_in_full(check, full);

	old_context = MemoryContextSwitchTo(check->step);
	look_at_damage(check);
	MemoryContextSwitchTo(old_context);
	finish_check(check);
}

/*
 * ERROR unless a relation is one that can be verified.  If it cannot be opened
 * because of damage, it is, and verification says so.
 */
static void
check_may_check(Oid relid)
{
	ErrorData  *error = walredo_attempt(check_verifiable, &relid);

	if (error != NULL && !is_about_damage(error))
		ReThrowError(error);
}

/* ERROR unless a check can be run here, and now. */
static void
check_may_run(FunctionCallInfo fcinfo)
{
	walredo_check_may_read_wal();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot run walredo_check() during recovery"),
				 errdetail("It keeps what it finds in a table."),
				 errhint("Use walredo_verify_all() on a standby.")));
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("walredo_check() cannot run inside a transaction block"),
				 errdetail("It commits as it goes.")));
}

/*
 * Locks the procedure for this session, so that no other one runs it in this
 * database, and the extension is not dropped, until *tag is released, or an
 * error ends the transaction.
 */
static void
lock_check(Oid procid, LOCKTAG *tag)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, ProcedureRelationId, procid, 0);
	if (LockAcquire(tag, ShareUpdateExclusiveLock, true, true) ==
		LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("walredo_check() is running in this database already"),
				 errhint("See view walredo_verify_progress.")));
}

/*
 * walredo_check(relations regclass[], "full" bool, from_disk bool,
 *				 wal_directory text)
 */
static Datum
walredo_check_work(PG_FUNCTION_ARGS)
{
	Oid			procid = fcinfo->flinfo->fn_oid;
	Check	   *check;
	char	   *schema;
	LOCKTAG		tag;
	ListCell   *lc;

	check_may_run(fcinfo);
	lock_check(procid, &tag);
	walredo_pool_attach_stats();

	/* What is allocated from here on survives commits. */
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	check = palloc0(sizeof(Check));
	check->is_whole = PG_ARGISNULL(0);
	if (!check->is_whole)
		check->relids = walredo_getarg_relations(fcinfo, 0);
	foreach(lc, check->relids)
		check_may_check(lfirst_oid(lc));
	check->is_full = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	check->from_disk = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	check->directory = walredo_getarg_cstring(fcinfo, 3);
	check->step = AllocSetContextCreate(CurrentMemoryContext, "walredo check",
										ALLOCSET_DEFAULT_SIZES);
	check->row = AllocSetContextCreate(CurrentMemoryContext,
									   "walredo damaged block",
									   ALLOCSET_DEFAULT_SIZES);
	schema = get_namespace_name(get_func_namespace(procid));
	check->damage = quote_qualified_identifier(schema, "walredo_damage");
	check->checked = quote_qualified_identifier(schema, "_walredo_checked");

	PG_TRY();
	{
		VacuumCostBalance = 0;
		VacuumCostActive = (VacuumCostDelay > 0);
		run_check(check);
	}
	PG_FINALLY();
	{
		VacuumCostActive = false;
		VacuumCostBalance = 0;
	}
	PG_END_TRY();
	LockRelease(&tag, ShareUpdateExclusiveLock, true);
	SPI_finish();
	return (Datum) 0;
}
