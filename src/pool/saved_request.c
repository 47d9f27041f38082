/*-------------------------------------------------------------------------
 *
 * saved_request.c
 *	  Requests that a child did not survive, kept for study.
 *
 * With walredo.save_failed_requests, a request that its child did not survive
 * is written to a file as it went over the pipe.  Given to a child once more,
 * with walredo_replay_saved_request() of the redo room, it does the same again,
 * under a debugger if need be.
 *
 * The files hold pages and records of whoever made the request, so they are
 * the server's alone to read.  There are limits to their number and size, since
 * whoever may make requests may make bad ones.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/saved_request.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pool/saved_request.h"
#include "proto/proto.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

/* How often to try to lock the directory, and how long to wait in between. */
#define LOCK_TRIES		100
#define LOCK_RETRY_MS	10

/* A file that is being written. */
typedef struct SavedRequest
{
	const char *name;
	int			fd;
} SavedRequest;

/* Closes and removes a file that could not be written completely. */
static void
remove_file(SavedRequest *saved)
{
	char		path[MAXPGPATH];

	close(saved->fd);
	saved->fd = -1;
	snprintf(path, sizeof(path), "%s/%s", WALREDO_SAVED_REQUESTS_DIR, saved->name);
	(void) unlink(path);
}

/*
 * Callback of walredo_request_write() that writes to the file.  After a
 * failure, which is logged, there is no file any more, and it does nothing.
 */
static void
put_into_file(const char *data, Size size, void *arg)
{
	SavedRequest *saved = arg;

	if (saved->fd >= 0 && !walredo_write(saved->fd, data, size))
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s/%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR, saved->name)));
		remove_file(saved);
	}
}

/* Callback of walredo_request_write() that adds up the size of the request. */
static void
add_size_of_piece(const char *data, Size size, void *arg)
{
	*(uint64 *) arg += size;
}

/*
 * How many files there are already, and their bytes; -1, with errno set, if the
 * directory cannot be read.
 */
static int
count_files(uint64 *bytes)
{
	DIR		   *dir = AllocateDir(WALREDO_SAVED_REQUESTS_DIR);
	struct dirent *de;
	int			n = 0;

	*bytes = 0;
	if (dir == NULL)
		return -1;
	while ((de = ReadDirExtended(dir, WALREDO_SAVED_REQUESTS_DIR, LOG)) != NULL)
	{
		struct stat file;

		if (de->d_name[0] == '.')
			continue;
		n++;
		if (fstatat(dirfd(dir), de->d_name, &file, AT_SYMLINK_NOFOLLOW) == 0)
			*bytes += file.st_size;
	}
	FreeDir(dir);
	return n;
}

/*
 * Whether the directory, which lock_fd is open on, has room for a request of
 * that size.  If so, it is locked: whoever saves a request at the same time
 * must count this one.
 */
static bool
make_room(int lock_fd, uint64 size)
{
	uint64		bytes;
	int			nfiles;

	for (int i = 0; flock(lock_fd, LOCK_EX | LOCK_NB) != 0; i++)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
		{
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("failed request is not saved"),
					 errdetail("Could not lock directory \"%s\": %m.",
							   WALREDO_SAVED_REQUESTS_DIR)));
			return false;
		}
		if (i == LOCK_TRIES)
		{
			ereport(LOG,
					(errmsg("failed request is not saved"),
					 errdetail("Another request is still being saved.")));
			return false;
		}
		pg_usleep(LOCK_RETRY_MS * 1000L);
	}

	nfiles = count_files(&bytes);
	if (nfiles < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("failed request is not saved"),
				 errdetail("Could not read directory \"%s\": %m.",
						   WALREDO_SAVED_REQUESTS_DIR)));
		return false;
	}
	if (nfiles >= WALREDO_SAVED_REQUESTS_MAX_FILES)
	{
		ereport(LOG,
				(errmsg("failed request is not saved"),
				 errdetail("Directory \"%s\" has %d files already.",
						   WALREDO_SAVED_REQUESTS_DIR, nfiles)));
		return false;
	}
	if (bytes + size > WALREDO_SAVED_REQUESTS_MAX_SIZE)
	{
		ereport(LOG,
				(errmsg("failed request is not saved"),
				 errdetail("The request has " UINT64_FORMAT " bytes, and those in directory \"%s\" have " UINT64_FORMAT ". The limit for all is " UINT64_FORMAT ".",
						   size, WALREDO_SAVED_REQUESTS_DIR, bytes,
						   WALREDO_SAVED_REQUESTS_MAX_SIZE)));
		return false;
	}
	return true;
}

/* Writes the request into a new file, and logs its name. */
static void
save_request(const WalredoRequest *request, SavedRequest *saved)
{
	saved->name = psprintf("%d-" INT64_FORMAT, MyProcPid,
						   (int64) GetCurrentTimestamp());
	saved->fd = open(psprintf("%s/%s", WALREDO_SAVED_REQUESTS_DIR, saved->name),
					 O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
					 S_IRUSR | S_IWUSR);
	if (saved->fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s/%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR, saved->name)));
		return;
	}
	walredo_request_write(request, put_into_file, saved);
	if (saved->fd < 0)
		return;
	close(saved->fd);
	saved->fd = -1;
	ereport(LOG,
			(errmsg("saved failed request as \"%s/%s\"",
					WALREDO_SAVED_REQUESTS_DIR, saved->name)));
}

void
walredo_save_request(const WalredoRequest *request)
{
	/* These are static since they are used after an error was caught. */
	static SavedRequest saved;
	static int	lock_fd;
	MemoryContext context = CurrentMemoryContext;
	uint64		size = 0;

	if (mkdir(WALREDO_SAVED_REQUESTS_DIR, S_IRWXU) != 0 && errno != EEXIST)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR)));
		return;
	}
	lock_fd = open(WALREDO_SAVED_REQUESTS_DIR,
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock_fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR)));
		return;
	}

	/*
	 * An error that is raised here, such as that memory is exhausted, must
	 * not take the place of the one that the caller is about to raise.
	 */
	saved.fd = -1;
	PG_TRY();
	{
		walredo_request_write(request, add_size_of_piece, &size);
		if (make_room(lock_fd, size))
			save_request(request, &saved);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(LOG,
				(errmsg("failed request is not saved"),
				 errdetail_internal("%s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();

	/* A part of a request is of no use, and would count for the limits. */
	if (saved.fd >= 0)
		remove_file(&saved);
	close(lock_fd);
}
