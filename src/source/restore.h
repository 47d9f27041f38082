/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  Getting segments and history files by a shell command.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/restore.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_RESTORE_H
#define WALREDO_RESTORE_H

#include "postgres.h"

#include "utils/guc.h"

/* The most files that walredo.restore_segments may allow a session to keep. */
#define WALREDO_MAX_RESTORE_SEGMENTS	65536

/* Settings, defined in walredo.c. */
extern char *walredo_restore_command;
extern int	walredo_restore_segments;

/* Refuses a command with an unknown placeholder. */
extern bool walredo_check_restore_command(char **newval, void **extra,
										  GucSource source);

/* Whether there is a command that can be asked. */
extern bool walredo_restore_is_enabled(void);

/*
 * Gets a file by its name, which must be that of a segment or of a timeline
 * history file: runs walredo.restore_command for it, unless the file was
 * fetched before and is still kept.
 *
 * Returns false if the command says that the file is not there; that is not
 * remembered.  Otherwise path, of MAXPGPATH bytes, is where the file is,
 * relative to the data directory.  It is a regular file, or a symbolic link to
 * one, and its contents have not been looked at.  It stays until
 * walredo.restore_segments other files have been asked for, the setting has
 * been changed, or the session ends.
 *
 * The session waits for the command and can be interrupted meanwhile.  ERROR
 * 38000 if a signal or a failure of the shell ended the command, or if it
 * claims to have succeeded but no regular file is there.  A failed command
 * leaves no file.  How the exit status is taken is as in RestoreArchivedFile()
 * of src/backend/access/transam/xlogarchive.c.
 */
extern bool walredo_restore_file(const char *name, char *path);

#endif							/* WALREDO_RESTORE_H */
