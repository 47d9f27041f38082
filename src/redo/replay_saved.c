/*-------------------------------------------------------------------------
 *
 * replay_saved.c
 *	  A request that failed, given to a child once more.
 *
 * See pool/saved_request.c for how it came to be saved.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/redo/replay_saved.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "pool/client.h"
#include "pool/saved_request.h"
#include "proto/proto.h"
#include "redo/replay.h"
#include "storage/fd.h"

/* Bytes of a file that are sent at a time. */
#define REPLAY_CHUNK	65536

/* A file that is being sent. */
typedef struct SavedFile
{
	const char *name;
	int			fd;
} SavedFile;

static void
send_file(WalredoPipe *pipe, void *arg)
{
	SavedFile  *saved = arg;
	char	   *chunk = palloc(REPLAY_CHUNK);
	ssize_t		n;

	if (lseek(saved->fd, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in file \"%s/%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR, saved->name)));

	/*
	 * The file may be of any length.  Once the child has failed, the rest of
	 * it is of no use.
	 */
	while ((n = walredo_read(saved->fd, chunk, REPLAY_CHUNK,
							 REPLAY_CHUNK)) > 0)
	{
		if (!walredo_pipe_put(pipe, chunk, n))
			break;
	}
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s/%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR, saved->name)));
	pfree(chunk);
}

static char *
describe_file(void *arg)
{
	SavedFile  *saved = arg;

	return psprintf("The request was the saved request \"%s\".",
					saved->name);
}

void
walredo_replay_saved_request(const char *name, char *page)
{
	SavedFile	saved = {name, -1};
	WalredoRequest request = {send_file, describe_file, &saved, 0, true};

	/* Names as walredo_save_request() makes them; none leaves the directory. */
	if (name[0] == '\0' || strspn(name, "0123456789-") != strlen(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a saved request: \"%s\"", name)));

	saved.fd = OpenTransientFile(psprintf("%s/%s", WALREDO_SAVED_REQUESTS_DIR, name),
								 O_RDONLY | PG_BINARY);
	if (saved.fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s/%s\": %m",
						WALREDO_SAVED_REQUESTS_DIR, name)));
	walredo_pool_request(&request, page);
	CloseTransientFile(saved.fd);
}
