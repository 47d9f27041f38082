/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Fetching files of WAL by a command.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/restore.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/restore.h"

bool
walredo_restore_is_enabled(void)
{
	return false;
}

bool
walredo_restore_file(const char *name, char *path)
{
	return false;
}
