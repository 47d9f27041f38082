/*-------------------------------------------------------------------------
 *
 * backup.c
 *	  Pages out of base backups.
 *
 * A backup is a directory as pg_basebackup makes it in its plain format.  What
 * is said about it as a whole is in these files:
 *
 *	PG_VERSION			the major version of the server
 *	global/pg_control	the system, the layout of its files, and whether pages
 *						have checksums
 *	backup_label		where WAL is needed from, and on which timeline
 *	backup_manifest		where the backup ended; it may be missing
 *
 * The files of relations are named as in the data directory.  Tablespaces are
 * reached through pg_tblspc, as there.
 *
 * The difficulty of a backup is that it was made while the server went on
 * working.  So the copy of a page can be newer than the backup's start, and can
 * consist of parts that are from different moments.  Recovery need not care,
 * as it always goes on to the end of the backup, and full-page images in WAL
 * replace all such pages.  But here, WAL is applied up to any LSN, which can be
 * before the end, and to some pages no record is applied at all.
 * read_page() and its neighbours decide what can be used nevertheless:
 *
 * - A page with a checksum that is right is not torn, and its LSN says how new
 *	 it is.  Changes that do not set the LSN are logged with an image, if there
 *	 are checksums, when they are the first after a checkpoint, so that a page
 *	 whose LSN is before the backup's start has none from after it.  An
 *	 exception are bits of the visibility map that are cleared.  And a page that
 *	 is all zeroes has no checksum, and no LSN: it may have been truncated away
 *	 and added again.  The same is true of pages of an index that is being
 *	 built, whose LSN is not a real one before they are logged.
 * - All else can be used if WAL is applied up to the end of the backup.  Then a
 *	 page of which WAL has no image was not changed while it was copied, and is
 *	 not torn.
 *
 * A checksum that is wrong need not be damage, because a torn page has one,
 * too.  But then WAL has an image of the page, and nobody asks for the copy if
 * WAL is applied up to the end of the backup.
 *
 * Files are opened for each read, and no descriptor is kept, for the reason
 * that is given at the head of src/source/source.c.
 *
 * The directories are named by a superuser, but what is in them can be damaged,
 * or come from elsewhere.  Only regular files are read, no count is used before
 * it has been checked, and nothing out of a file gets into a message but
 * numbers.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/backup/backup.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/slru.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "backup/backup.h"
#include "catalog/catversion.h"
#include "catalog/pg_control.h"
#include "catalog/pg_tablespace_d.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/bufpage.h"
#include "storage/checksum.h"
#include "storage/fd.h"
#include "utils/memutils.h"

char	   *walredo_backup_directory = NULL;

/* The most blocks that are read from a file at once. */
#define BLOCKS_AT_ONCE		32

/*
 * backup_label is a few lines of known form, and a label that the user has
 * chosen.
 */
#define MAX_LABEL_LENGTH	(64 * 1024)

/*
 * The end of backup_manifest, in which the ranges of WAL are looked for.  There
 * is one line for each timeline that the server was on during the backup.
 */
#define MANIFEST_TAIL		(64 * 1024)

struct WalredoBackupCache
{
	MemoryContext context;		/* of the backup */
	FullTransactionId next_xid; /* when the backup was made */

	/* The image that walredo_backup_read() has returned last. */
	bytea	   *page;			/* if it is a page: BLCKSZ bytes */
	bytea	   *object;			/* if it is not; NULL if there was none */

	/* Blocks of one file that were read together. */
	char		path[MAXPGPATH];
	BlockNumber first_block;	/* in the file */
	int			num_blocks;
	BlockNumber next_block;		/* the one after the last that was wanted */
	PGAlignedBlock *blocks;		/* BLOCKS_AT_ONCE of them */

	/* The relation of which is_unlogged() was asked last. */
	WalredoTag	asked_relation;
	bool		asked_is_unlogged;
};

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

/*
 * Opens a file for reading.  Returns a negative number if it is not there. If
 * it cannot be opened, or is no regular file, raises an error, or, if problem
 * is not NULL, sets *problem to a sentence that says so, and returns a negative
 * number, too.  With O_NONBLOCK, opening a FIFO does not wait for a writer.
 */
static int
open_file(const char *path, char **problem)
{
	int			fd = OpenTransientFile(path,
									   O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat st;

	if (fd < 0)
	{
		if (errno == ENOENT || errno == ENOTDIR)
			return -1;
		if (problem == NULL)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
		*problem = psprintf("File \"%s\" of the backup cannot be opened: %m.",
							path);
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	CloseTransientFile(fd);
	if (problem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a regular file", path)));
	*problem = psprintf("File \"%s\" of the backup is not a regular file.",
						path);
	return -1;
}

/*
 * Reads up to size bytes at an offset.  Returns how many there are.  If they
 * cannot be read, does the same as open_file().
 */
static Size
read_some(int fd, const char *path, char *buf, Size size, off_t offset,
		  char **problem)
{
	Size		done = 0;

	while (done < size)
	{
		int			n = pg_pread(fd, buf + done, size - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && problem == NULL)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", path)));
		if (n < 0)
			*problem = psprintf("File \"%s\" of the backup cannot be read: %m.",
								path);
		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

/* The size of a file; 0 if it is not there. */
static off_t
size_of_file(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
		return st.st_size;
	return 0;
}

/*
 * Reads up to max_size bytes from the beginning of a file of a backup, or, if
 * from_end is set, from its end.  The result is palloc'd, ends with a zero
 * byte, and *size is set to the number of bytes before that.  NULL if the file
 * is not there.
 */
static char *
read_backup_file(const char *directory, const char *name, Size max_size,
				 bool from_end, Size *size)
{
	char		path[MAXPGPATH];
	char	   *result;
	off_t		offset = 0;
	int			fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open_file(path, NULL);
	if (fd < 0)
		return NULL;
	if (from_end)
	{
		struct stat st;

		if (fstat(fd, &st) == 0 && st.st_size > max_size)
			offset = st.st_size - max_size;
	}
	result = palloc(max_size + 1);
	*size = read_some(fd, path, result, max_size, offset, NULL);
	result[*size] = '\0';
	CloseTransientFile(fd);
	return result;
}

/* ----------------------------------------
 * What a backup says about itself
 * ----------------------------------------
 */

/* ERROR because a directory is not a backup: a file is missing. */
static void
report_missing_file(const char *directory, const char *name)
{
	char		old[MAXPGPATH];
	bool		is_started;

	/* A server renames the label when it has read it. */
	snprintf(old, sizeof(old), "%s/%s", directory, BACKUP_LABEL_OLD);
	is_started = strcmp(name, BACKUP_LABEL_FILE) == 0 &&
		size_of_file(old) > 0;
	ereport(ERROR,
			(errcode(is_started ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE :
					 ERRCODE_UNDEFINED_FILE),
			 errmsg("\"%s\" is not a base backup", directory),
			 is_started ?
			 errdetail("A server was started on it: the file \"%s\" has been renamed.",
					   name) :
			 errdetail("There is no file \"%s\" in it.", name),
			 errhint("The entries of walredo.backup_directory must be directories as pg_basebackup makes them in plain format.")));
}

static void
report_invalid_file(const char *directory, const char *name,
					const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("file \"%s\" of backup \"%s\" is not valid", name,
					directory),
			 errdetail_internal("%s", detail)));
}

/*
 * Is the backup of this major version?  If not, adds a sentence to skipped.
 */
static bool
check_version(const char *directory, List **skipped)
{
	Size		size;
	char	   *text = read_backup_file(directory, "PG_VERSION", 64, false,
										&size);

	if (text == NULL)
		report_missing_file(directory, "PG_VERSION");
	if (strcmp(text, PG_MAJORVERSION "\n") == 0)
		return true;
	*skipped = lappend(*skipped,
					   psprintf("Backup \"%s\" is not of PostgreSQL %s.",
								directory, PG_MAJORVERSION));
	return false;
}

/* Reads pg_control into the fields that come from it. */
static void
read_control_file(WalredoBackup *backup)
{
	Size		size;
	char	   *data = read_backup_file(backup->directory, XLOG_CONTROL_FILE,
										sizeof(ControlFileData), false, &size);
	ControlFileData control;
	pg_crc32c	crc;

	if (data == NULL)
		report_missing_file(backup->directory, XLOG_CONTROL_FILE);
	if (size != sizeof(control))
		report_invalid_file(backup->directory, XLOG_CONTROL_FILE,
							"The file is too short.");
	memcpy(&control, data, sizeof(control));
	pfree(data);

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &control, offsetof(ControlFileData, crc));
	FIN_CRC32C(crc);
	if (!EQ_CRC32C(crc, control.crc))
		report_invalid_file(backup->directory, XLOG_CONTROL_FILE,
							"The checksum of the file is wrong.");
	if (control.pg_control_version != PG_CONTROL_VERSION ||
		control.catalog_version_no != CATALOG_VERSION_NO ||
		control.blcksz != BLCKSZ || control.relseg_size != RELSEG_SIZE)
		report_invalid_file(backup->directory, XLOG_CONTROL_FILE,
							"The backup is of a server that was built with another layout of its files.");

	backup->system_identifier = control.system_identifier;
	backup->has_checksums =
		control.data_checksum_version == PG_DATA_CHECKSUM_VERSION;
	backup->cache->next_xid = control.checkPointCopy.nextXid;
}

/*
 * Reads backup_label.  The server accepts nothing but the lines that it has
 * written, in their order: see read_backup_label() in
 * src/backend/access/transam/xlogrecovery.c.  Of these, the first is needed
 * here.  An incremental backup has a line of its own.
 */
static void
read_label(WalredoBackup *backup)
{
	Size		size;
	char	   *text = read_backup_file(backup->directory, BACKUP_LABEL_FILE,
										MAX_LABEL_LENGTH, false, &size);
	const char *line;
	char		end;
	uint32		hi;
	uint32		lo;
	uint32		tli;
	uint32		start_tli;

	if (text == NULL)
		report_missing_file(backup->directory, BACKUP_LABEL_FILE);
	if (sscanf(text, "START WAL LOCATION: %X/%X (file %08X%*16s)%c",
			   &hi, &lo, &tli, &end) != 4 || end != '\n')
		report_invalid_file(backup->directory, BACKUP_LABEL_FILE,
							"The file does not say where WAL is needed from.");
	backup->start_lsn = ((uint64) hi) << 32 | lo;
	backup->tli = tli;
	if (backup->start_lsn == InvalidXLogRecPtr || tli == 0)
		report_invalid_file(backup->directory, BACKUP_LABEL_FILE,
							"The file does not say where WAL is needed from.");

	for (line = text; line != NULL; line = strchr(line, '\n'))
	{
		line += (*line == '\n');
		if (sscanf(line, "START TIMELINE: %u", &start_tli) == 1 &&
			start_tli != tli)
			report_invalid_file(backup->directory, BACKUP_LABEL_FILE,
								psprintf("The backup starts on timeline %u, but its first segment is of timeline %u.",
										 start_tli, tli));
		if (strncmp(line, "INCREMENTAL FROM LSN:", 21) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("backup \"%s\" is an incremental backup",
							backup->directory),
					 errdetail("It does not have all pages of its own."),
					 errhint("Combine it with the backups that it depends on, with pg_combinebackup, and specify the result.")));
	}
	pfree(text);
}

/*
 * Reads where the backup ended from backup_manifest, which lists the ranges of
 * WAL that are needed, one for each timeline, at its end.  If there is no such
 * file, or it does not belong to this backup, the end is not known.  That is no
 * error, as pg_basebackup can be told not to write the file.
 */
static void
read_manifest(WalredoBackup *backup)
{
	Size		size;
	char	   *text = read_backup_file(backup->directory, "backup_manifest",
										MANIFEST_TAIL, true, &size);
	const char *range = text;
	XLogRecPtr	end = InvalidXLogRecPtr;
	bool		is_ours = false;

	/* A zero byte, of which there is none in a manifest, ends the text. */
	while (range != NULL &&
		   (range = strstr(range, "\"Start-LSN\": \"")) != NULL)
	{
		uint32		start_hi;
		uint32		start_lo;
		uint32		end_hi;
		uint32		end_lo;

		if (sscanf(range,
				   "\"Start-LSN\": \"%X/%X\", \"End-LSN\": \"%X/%X\"",
				   &start_hi, &start_lo, &end_hi, &end_lo) == 4)
		{
			if ((((uint64) start_hi) << 32 | start_lo) == backup->start_lsn)
				is_ours = true;
			end = Max(end, ((uint64) end_hi) << 32 | end_lo);
		}
		range++;
	}
	if (is_ours && end >= backup->start_lsn)
		backup->end_lsn = end;
	if (text != NULL)
		pfree(text);
}

/* Opens one backup.  Returns NULL if it is of another version. */
static WalredoBackup *
open_backup(const char *directory, List **skipped)
{
	WalredoBackup *backup = palloc0(sizeof(WalredoBackup));

	/* Room for the path of any file in it. */
	if (strlen(directory) > MAXPGPATH - 128)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an entry of walredo.backup_directory is too long")));
	backup->directory = pstrdup(directory);
	if (!check_version(directory, skipped))
		return NULL;
	backup->cache = palloc0(sizeof(WalredoBackupCache));
	backup->cache->context = CurrentMemoryContext;
	backup->cache->page = palloc(VARHDRSZ + BLCKSZ);
	SET_VARSIZE(backup->cache->page, VARHDRSZ + BLCKSZ);
	backup->cache->blocks = palloc(BLOCKS_AT_ONCE * sizeof(PGAlignedBlock));
	read_label(backup);
	read_control_file(backup);
	read_manifest(backup);
	return backup;
}

List *
walredo_backups_open(List **skipped)
{
	List	   *backups = NIL;
	char	   *entries;
	char	   *entry;
	char	   *next;

	*skipped = NIL;
	if (walredo_backup_directory == NULL)
		return NIL;
	entries = pstrdup(walredo_backup_directory);
	for (entry = entries; entry != NULL; entry = next)
	{
		WalredoBackup *backup;

		next = strchr(entry, ':');
		if (next != NULL)
			*next++ = '\0';
		if (*entry == '\0')
			continue;
		canonicalize_path(entry);
		backup = open_backup(entry, skipped);
		if (backup != NULL)
			backups = lappend(backups, backup);
	}
	pfree(entries);
	return backups;
}

/* ----------------------------------------
 * Where an object is
 * ----------------------------------------
 */

/*
 * Says why a tablespace of the backup cannot be read, in a palloc'd sentence,
 * or returns NULL.
 *
 * pg_tblspc has symbolic links to wherever the tablespaces of the backup were
 * put.  If a backup was moved, or came out of an archive of the tar format,
 * they can lead to the tablespaces of the running server, whose pages are not
 * those of the backup.
 */
static char *
tablespace_problem(WalredoBackup *backup, Oid spcOid)
{
	char		path[MAXPGPATH];
	struct stat theirs;
	struct stat ours;

	if (spcOid == DEFAULTTABLESPACE_OID || spcOid == GLOBALTABLESPACE_OID)
		return NULL;
	snprintf(path, sizeof(path), "%s/pg_tblspc/%u/%s", backup->directory,
			 spcOid, TABLESPACE_VERSION_DIRECTORY);
	if (stat(path, &theirs) != 0)
	{
		struct stat link;
		char	   *problem;

		/*
		 * If the tablespace was created after the start of the backup, there
		 * need not even be a link.
		 */
		if (errno != ENOENT)
			return psprintf("Directory \"%s\" cannot be read: %m.", path);
		snprintf(path, sizeof(path), "%s/pg_tblspc/%u", backup->directory,
				 spcOid);
		problem = psprintf("Backup \"%s\" has a link to tablespace %u, but no directory of the tablespace is where it leads.",
						   backup->directory, spcOid);
		if (lstat(path, &link) == 0)
			return problem;
		snprintf(path, sizeof(path), "%s/%s", backup->directory,
				 TABLESPACE_MAP);
		return size_of_file(path) > 0 ?
			psprintf("Backup \"%s\" has a file \"%s\", but no link to tablespace %u.",
					 backup->directory, TABLESPACE_MAP, spcOid) : NULL;
	}
	snprintf(path, sizeof(path), "pg_tblspc/%u/%s", spcOid,
			 TABLESPACE_VERSION_DIRECTORY);
	if (stat(path, &ours) == 0 && ours.st_dev == theirs.st_dev &&
		ours.st_ino == theirs.st_ino)
		return psprintf("Tablespace %u of backup \"%s\" is that of the running server.",
						spcOid, backup->directory);
	return NULL;
}

/*
 * Finds the file of an object, and, if it is a page, the number of its block in
 * the file.
 */
static void
locate(WalredoBackup *backup, const WalredoTag *tag, char *path,
	   BlockNumber *blkno)
{
	const char *directory = backup->directory;
	RelFileLocator locator;
	char	   *relation_path;
	char	   *segment;

	*blkno = 0;
	switch ((WalredoTagKind) tag->kind)
	{
		case WALREDO_TAG_REL:
			locator = walredo_tag_locator(tag);
			relation_path = walredo_relation_path(locator, tag->forknum);
			*blkno = tag->number % RELSEG_SIZE;
			if (tag->number < RELSEG_SIZE)
				snprintf(path, MAXPGPATH, "%s/%s", directory, relation_path);
			else
				snprintf(path, MAXPGPATH, "%s/%s.%u", directory, relation_path,
						 (unsigned int) (tag->number / RELSEG_SIZE));
			pfree(relation_path);
			break;
		case WALREDO_TAG_CLOG:
		case WALREDO_TAG_MULTIXACT_OFFSETS:
		case WALREDO_TAG_MULTIXACT_MEMBERS:
		case WALREDO_TAG_COMMIT_TS:
			*blkno = tag->number % SLRU_PAGES_PER_SEGMENT;
			segment = walredo_slru_segment_name(tag);
			snprintf(path, MAXPGPATH, "%s/%s/%s", directory,
					 walredo_slru_directory(tag->kind), segment);
			pfree(segment);
			break;
		case WALREDO_TAG_RELMAP:
			locator = walredo_tag_locator(tag);
			LocatorRelNumber(locator) = 1;
			relation_path = walredo_relation_path(locator, MAIN_FORKNUM);
			*strrchr(relation_path, '/') = '\0';
			snprintf(path, MAXPGPATH, "%s/%s/pg_filenode.map", directory,
					 relation_path);
			pfree(relation_path);
			break;
		case WALREDO_TAG_TWOPHASE:
			walredo_two_phase_path(path, directory, tag->number,
								   backup->cache->next_xid);
			break;
	}
}

/*
 * Is a relation of the backup unlogged?  Then WAL has nothing of its pages but
 * those of the init fork, and none of its other forks should be in the backup.
 */
static bool
is_unlogged(WalredoBackup *backup, const WalredoTag *tag)
{
	WalredoBackupCache *cache = backup->cache;
	WalredoTag	init = *tag;
	char		path[MAXPGPATH];
	BlockNumber blkno;
	struct stat st;

	init.forknum = INIT_FORKNUM;
	init.number = 0;
	if (memcmp(&init, &cache->asked_relation, sizeof(init)) != 0)
	{
		locate(backup, &init, path, &blkno);
		cache->asked_is_unlogged = (lstat(path, &st) == 0);
		cache->asked_relation = init;
	}
	return cache->asked_is_unlogged;
}

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

/*
 * Returns block blkno of a file, which belongs to the cache, or NULL if the
 * file does not have it.  Then *problem is set, if it is not NULL already, to a
 * sentence that says why, unless the block is just not there.
 */
static const char *
read_block(WalredoBackup *backup, const char *path, BlockNumber blkno,
		   char **problem)
{
	WalredoBackupCache *cache = backup->cache;
	bool		is_same = strcmp(path, cache->path) == 0;
	int			wanted;
	int			fd;
	Size		size;

	if (is_same && blkno >= cache->first_block &&
		blkno - cache->first_block < cache->num_blocks)
	{
		cache->next_block = blkno + 1;
		return cache->blocks[blkno - cache->first_block].data;
	}

	/* Read ahead only if blocks are read in order. */
	wanted = blkno == 0 || (is_same && blkno == cache->next_block) ?
		BLOCKS_AT_ONCE : 1;
	cache->path[0] = '\0';
	cache->num_blocks = 0;
	fd = open_file(path, problem);
	if (fd < 0)
		return NULL;
	size = read_some(fd, path, cache->blocks[0].data,
					 wanted * (Size) BLCKSZ, (off_t) blkno * BLCKSZ, problem);
	CloseTransientFile(fd);
	if (size > 0 && size < BLCKSZ && *problem == NULL)
		*problem = psprintf("File \"%s\" of the backup ends within block %u.",
							path, blkno);
	if (size < BLCKSZ)
		return NULL;

	/* If a later block could not be read, this is said when it is wanted. */
	*problem = NULL;
	strlcpy(cache->path, path, MAXPGPATH);
	cache->first_block = blkno;
	cache->num_blocks = size / BLCKSZ;
	cache->next_block = blkno + 1;
	return cache->blocks[0].data;
}

static bool
is_all_zero(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, BLCKSZ - 1) == 0;
}

/* As in PageIsVerified(). */
static bool
has_sane_header(const char *page)
{
	PageHeader	header = (PageHeader) page;

	return (header->pd_flags & ~PD_VALID_FLAG_BITS) == 0 &&
		header->pd_lower <= header->pd_upper &&
		header->pd_upper <= header->pd_special &&
		header->pd_special <= BLCKSZ &&
		header->pd_special == MAXALIGN(header->pd_special);
}

/*
 * Says why what was copied may be newer than lsn, or torn, as it has neither an
 * LSN nor a checksum that would tell.  Returns NULL if it is neither.
 */
static char *
unproven_problem(WalredoBackup *backup, XLogRecPtr lsn)
{
	if (backup->end_lsn == InvalidXLogRecPtr)
		return psprintf("Backup \"%s\" has no manifest that says where it ended, so that it is not known whether it is as of an earlier LSN than the one asked for.",
						backup->directory);
	if (lsn < backup->end_lsn)
		return psprintf("Backup \"%s\" ended at %X/%X, so that what it has may be newer than the LSN asked for.",
						backup->directory, LSN_FORMAT_ARGS(backup->end_lsn));
	return NULL;
}

/*
 * Says why a page of a relation cannot be used, or returns NULL.  blkno is its
 * number in the fork, and path its file.
 */
static char *
page_problem(WalredoBackup *backup, const WalredoTag *tag, const char *page,
			 const char *path, XLogRecPtr lsn)
{
	XLogRecPtr	page_lsn = PageGetLSN((Page) page);
	PGAlignedBlock copy;

	if (is_all_zero(page))
		return unproven_problem(backup, lsn);
	if (!has_sane_header(page))
		return psprintf("Block %u in file \"%s\" of the backup has an invalid page header.",
						(BlockNumber) tag->number, path);
	if (backup->has_checksums)
	{
		/* pg_checksum_page() changes the page for a moment. */
		memcpy(copy.data, page, BLCKSZ);
		if (pg_checksum_page(copy.data, (BlockNumber) tag->number) !=
			((PageHeader) page)->pd_checksum)
			return psprintf("Block %u in file \"%s\" of the backup has a wrong checksum.",
							(BlockNumber) tag->number, path);
	}
	if (page_lsn > lsn)
		return psprintf("Block %u in file \"%s\" of the backup has LSN %X/%X, which is newer than the LSN asked for.",
						(BlockNumber) tag->number, path,
						LSN_FORMAT_ARGS(page_lsn));
	if (backup->end_lsn != InvalidXLogRecPtr && page_lsn > backup->end_lsn)
		return psprintf("Block %u in file \"%s\" of the backup has LSN %X/%X, although the backup ended at %X/%X.",
						(BlockNumber) tag->number, path,
						LSN_FORMAT_ARGS(page_lsn),
						LSN_FORMAT_ARGS(backup->end_lsn));
	if (!backup->has_checksums || tag->forknum == VISIBILITYMAP_FORKNUM ||
		page_lsn < FirstNormalUnloggedLSN)
		return unproven_problem(backup, lsn);
	return NULL;
}

static WalredoBackupStatus
read_page(WalredoBackup *backup, const WalredoTag *tag, XLogRecPtr lsn,
		  const bytea **image, char **problem)
{
	char		path[MAXPGPATH];
	BlockNumber blkno;
	const char *page;

	if (tag->kind == WALREDO_TAG_REL)
	{
		*problem = tablespace_problem(backup, tag->spcOid);
		if (*problem != NULL)
			return WALREDO_BACKUP_UNUSABLE;
		if (tag->forknum != INIT_FORKNUM && is_unlogged(backup, tag))
			return WALREDO_BACKUP_LACKS;
	}
	locate(backup, tag, path, &blkno);
	page = read_block(backup, path, blkno, problem);

	/* While the backup was made, it may have come, or gone. */
	if (page == NULL && *problem == NULL &&
		backup->end_lsn != InvalidXLogRecPtr && lsn < backup->end_lsn)
		*problem = unproven_problem(backup, lsn);
	if (page == NULL && *problem == NULL)
		return WALREDO_BACKUP_LACKS;
	if (page != NULL)
		*problem = tag->kind == WALREDO_TAG_REL ?
			page_problem(backup, tag, page, path, lsn) :
			unproven_problem(backup, lsn);
	if (*problem != NULL)
		return WALREDO_BACKUP_UNUSABLE;

	memcpy(VARDATA(backup->cache->page), page, BLCKSZ);
	*image = backup->cache->page;
	return WALREDO_BACKUP_HAS;
}

/* Is the checksum at an offset of some bytes that of the bytes before it? */
static bool
has_right_crc(const char *data, Size crc_offset)
{
	pg_crc32c	crc;
	pg_crc32c	stored;

	memcpy(&stored, data + crc_offset, sizeof(stored));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, crc_offset);
	FIN_CRC32C(crc);
	return EQ_CRC32C(crc, stored);
}

/*
 * Reads an object that is no page, but a whole file.  Both a relation map and
 * the state of a prepared transaction have a checksum.
 */
static WalredoBackupStatus
read_object(WalredoBackup *backup, const WalredoTag *tag, XLogRecPtr lsn,
			const bytea **image, char **problem)
{
	WalredoBackupCache *cache = backup->cache;
	char		path[MAXPGPATH];
	BlockNumber blkno;
	off_t		size;
	Size		crc_offset;
	Size		nread;
	int			fd;

	if (tag->kind == WALREDO_TAG_RELMAP)
		*problem = tablespace_problem(backup, tag->spcOid);
	if (*problem != NULL)
		return WALREDO_BACKUP_UNUSABLE;
	locate(backup, tag, path, &blkno);
	fd = open_file(path, problem);
	if (*problem != NULL)
		return WALREDO_BACKUP_UNUSABLE;
	if (fd < 0)
		return WALREDO_BACKUP_LACKS;

	size = lseek(fd, 0, SEEK_END);
	*problem = psprintf("File \"%s\" of the backup has an invalid length.",
						path);
	if (size < sizeof(pg_crc32c) || size > MaxAllocSize - VARHDRSZ ||
		(tag->kind == WALREDO_TAG_RELMAP && size != WALREDO_RELMAP_SIZE))
	{
		CloseTransientFile(fd);
		return WALREDO_BACKUP_UNUSABLE;
	}
	if (cache->object != NULL)
		pfree(cache->object);
	cache->object = NULL;
	cache->object = MemoryContextAlloc(cache->context, VARHDRSZ + size);
	SET_VARSIZE(cache->object, VARHDRSZ + size);
	nread = read_some(fd, path, VARDATA(cache->object), size, 0, problem);
	CloseTransientFile(fd);
	if (nread != size)
		return WALREDO_BACKUP_UNUSABLE;

	crc_offset = tag->kind == WALREDO_TAG_RELMAP ? WALREDO_RELMAP_CRC_OFFSET :
		size - sizeof(pg_crc32c);
	if (!has_right_crc(VARDATA(cache->object), crc_offset))
	{
		*problem = psprintf("File \"%s\" of the backup has a wrong checksum.",
							path);
		return WALREDO_BACKUP_UNUSABLE;
	}
	*problem = unproven_problem(backup, lsn);
	if (*problem != NULL)
		return WALREDO_BACKUP_UNUSABLE;
	*image = cache->object;
	return WALREDO_BACKUP_HAS;
}

WalredoBackupStatus
walredo_backup_read(WalredoBackup *backup, const WalredoTag *tag,
					XLogRecPtr lsn, const bytea **image, char **problem)
{
	*problem = NULL;
	*image = NULL;
	if (tag->kind == WALREDO_TAG_REL && tag->forknum == FSM_FORKNUM)
	{
		*problem = pstrdup("The free space map is not logged.");
		return WALREDO_BACKUP_UNUSABLE;
	}
	if (WalredoTagIsPage(tag))
		return read_page(backup, tag, lsn, image, problem);
	return read_object(backup, tag, lsn, image, problem);
}

uint64
walredo_backup_fork_blocks(WalredoBackup *backup, const WalredoTag *tag,
						   bool only_used)
{
	WalredoTag	block = *tag;
	char		path[MAXPGPATH];
	BlockNumber blkno;
	uint64		nblocks = 0;
	off_t		in_segment;

	if (tag->kind != WALREDO_TAG_REL || tag->forknum == FSM_FORKNUM ||
		tablespace_problem(backup, tag->spcOid) != NULL ||
		(tag->forknum != INIT_FORKNUM && is_unlogged(backup, tag)))
		return 0;
	do
	{
		block.number = nblocks;
		locate(backup, &block, path, &blkno);
		in_segment = Min(size_of_file(path) / BLCKSZ, RELSEG_SIZE);
		nblocks += in_segment;
	} while (in_segment == RELSEG_SIZE && nblocks < MaxBlockNumber);

	while (only_used && nblocks > 0)
	{
		char	   *problem = NULL;
		const char *page;

		CHECK_FOR_INTERRUPTS();
		block.number = nblocks - 1;
		locate(backup, &block, path, &blkno);
		page = read_block(backup, path, blkno, &problem);
		if (problem != NULL || (page != NULL && !is_all_zero(page)))
			break;
		nblocks--;
	}
	return nblocks;
}
