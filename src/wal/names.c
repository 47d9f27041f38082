/*-------------------------------------------------------------------------
 *
 * names.c
 *	  What records are called.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/names.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "utils/memutils.h"
#include "wal/names.h"

/*
 * Names for resource managers and record types that the server has no name
 * for.  They are kept until the process ends, as there are not many of them: a
 * resource manager has the upper four bits of xl_info for its record types.
 */
static char *made_rmgr_names[RM_MAX_ID + 1];
static char *made_record_types[16];

const char *
walredo_rmgr_name(RmgrId rmid)
{
	if (RmgrIdExists(rmid))
		return RmgrTable[rmid].rm_name;

	if (made_rmgr_names[rmid] == NULL)
	{
		char		name[16];

		snprintf(name, sizeof(name), "custom%03u", rmid);
		made_rmgr_names[rmid] = MemoryContextStrdup(TopMemoryContext, name);
	}
	return made_rmgr_names[rmid];
}

const char *
walredo_record_type(const XLogRecord *record)
{
	RmgrId		rmid = record->xl_rmid;
	uint8		info = record->xl_info & ~XLR_INFO_MASK;
	const char *type = NULL;

	if (RmgrIdExists(rmid))
		type = RmgrTable[rmid].rm_identify(info);
	if (type != NULL)
		return type;

	if (made_record_types[info >> 4] == NULL)
	{
		char		name[16];

		snprintf(name, sizeof(name), "UNKNOWN (%x)", info);
		made_record_types[info >> 4] =
			MemoryContextStrdup(TopMemoryContext, name);
	}
	return made_record_types[info >> 4];
}
