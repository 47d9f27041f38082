/*-------------------------------------------------------------------------
 *
 * names.h
 *	  What records are called.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/names.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_NAMES_H
#define WALREDO_NAMES_H

#include "postgres.h"

#include "access/xlogrecord.h"

/*
 * The names that pg_waldump and pg_walinspect show for a resource manager, and
 * for the type of a record.  The strings stay valid until the process ends, and
 * must not be freed.
 */
extern const char *walredo_rmgr_name(RmgrId rmid);
extern const char *walredo_record_type(const XLogRecord *record);

#endif							/* WALREDO_NAMES_H */
