/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  Fetching files of WAL by a command.
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

extern bool walredo_restore_is_enabled(void);
extern bool walredo_restore_file(const char *name, char *path);

#endif							/* WALREDO_RESTORE_H */
