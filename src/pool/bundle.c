/*-------------------------------------------------------------------------
 *
 * bundle.c
 *	  Requests that a child died of, kept for study.
 *
 * With walredo.save_failed_requests, a request that its child did not survive
 * is written to a file as it went over the pipe.  Given to a child once more,
 * with walredo_replay_request(), it does the same again, under a debugger if
 * need be.
 *
 * The files hold pages and records of whoever made the request, so they are
 * the server's alone to read.  There is a limit to their number, since whoever
 * may make requests may make bad ones.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/bundle.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pool/bundle.h"
#include "proto/proto.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

/* Bytes of a file that are sent at a time. */
#define REPLAY_CHUNK	65536

/* A file that is being written, or sent. */
typedef struct Bundle
{
	const char *name;
	int			fd;
} Bundle;

static void
put_into_file(const char *data, Size size, void *arg)
{
	Bundle	   *bundle = arg;

	if (bundle->fd >= 0 && !walredo_write(bundle->fd, data, size))
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s/%s\": %m",
						WALREDO_BUNDLE_DIR, bundle->name)));
		close(bundle->fd);
		bundle->fd = -1;
		(void) unlink(psprintf("%s/%s", WALREDO_BUNDLE_DIR, bundle->name));
	}
}

/* How many files there are already; -1 if the directory cannot be read. */
static int
count_files(void)
{
	DIR		   *dir = AllocateDir(WALREDO_BUNDLE_DIR);
	struct dirent *de;
	int			n = 0;

	if (dir == NULL)
		return -1;
	while ((de = ReadDirExtended(dir, WALREDO_BUNDLE_DIR, LOG)) != NULL)
	{
		if (de->d_name[0] != '.')
			n++;
	}
	FreeDir(dir);
	return n;
}

void
walredo_bundle_save(const WalredoRequest *request)
{
	Bundle		bundle;
	int			nfiles;

	if (mkdir(WALREDO_BUNDLE_DIR, S_IRWXU) != 0 && errno != EEXIST)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						WALREDO_BUNDLE_DIR)));
		return;
	}
	nfiles = count_files();
	if (nfiles < 0 || nfiles >= WALREDO_BUNDLE_MAX_FILES)
	{
		ereport(LOG,
				(errmsg("failed request is not saved"),
				 errdetail("Directory \"%s\" has %d files already.",
						   WALREDO_BUNDLE_DIR, nfiles)));
		return;
	}

	bundle.name = psprintf("%d-" INT64_FORMAT, MyProcPid,
						   (int64) GetCurrentTimestamp());
	bundle.fd = open(psprintf("%s/%s", WALREDO_BUNDLE_DIR, bundle.name),
					 O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
					 S_IRUSR | S_IWUSR);
	if (bundle.fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s/%s\": %m",
						WALREDO_BUNDLE_DIR, bundle.name)));
		return;
	}
	walredo_request_write(request, put_into_file, &bundle);
	if (bundle.fd < 0)
		return;
	close(bundle.fd);
	ereport(LOG,
			(errmsg("saved failed request as \"%s/%s\"",
					WALREDO_BUNDLE_DIR, bundle.name)));
}

static void
send_file(WalredoPipe *pipe, void *arg)
{
	Bundle	   *bundle = arg;
	char	   *chunk = palloc(REPLAY_CHUNK);
	ssize_t		n;

	if (lseek(bundle->fd, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in file \"%s/%s\": %m",
						WALREDO_BUNDLE_DIR, bundle->name)));
	/* The file may be of any length; the child has seen enough much earlier. */
	while ((n = walredo_read(bundle->fd, chunk, REPLAY_CHUNK,
							 REPLAY_CHUNK)) > 0)
	{
		if (!walredo_pipe_put(pipe, chunk, n))
			break;
	}
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s/%s\": %m",
						WALREDO_BUNDLE_DIR, bundle->name)));
	pfree(chunk);
}

static char *
describe_file(void *arg)
{
	Bundle	   *bundle = arg;

	return psprintf("It was to answer the saved request \"%s\".",
					bundle->name);
}

void
walredo_bundle_replay(const char *name, char *page)
{
	Bundle		bundle = {name, -1};
	WalredoRequest request = {send_file, describe_file, &bundle, 0, true};

	/* Names as they are made above, and no way out of the directory. */
	if (name[0] == '\0' || strspn(name, "0123456789-") != strlen(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a saved request: \"%s\"", name)));

	bundle.fd = OpenTransientFile(psprintf("%s/%s", WALREDO_BUNDLE_DIR, name),
								  O_RDONLY | PG_BINARY);
	if (bundle.fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s/%s\": %m",
						WALREDO_BUNDLE_DIR, name)));
	walredo_pool_request(&request, page);
	CloseTransientFile(bundle.fd);
}
