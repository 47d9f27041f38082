#ifndef WALREDO_INDEX_H
#define WALREDO_INDEX_H
#include "record/tag.h"
#include "wal/reader.h"
#include "source/source.h"
typedef struct WalredoIndexRef
{
	XLogRecPtr	lsn;
	bool		may_stop;
} WalredoIndexRef;
typedef struct WalredoIndexInfo
{
	XLogRecPtr	first_lsn,
				first_prev,
				last_lsn,
				end_lsn;
} WalredoIndexInfo;
typedef struct WalredoIndexSegment WalredoIndexSegment;
typedef struct WalredoIndexer WalredoIndexer;
static inline bool
walredo_index_find(WalredoSource *source, XLogRecPtr lsn, WalredoIndexInfo *info, WalredoIndexSegment **index)
{
	return false;
}
static inline int
walredo_index_lookup(WalredoIndexSegment *index, const WalredoTag *tag, WalredoIndexRef **refs)
{
	return -1;
}
static inline int
walredo_index_lookup_ends(WalredoIndexSegment *index, const WalredoTag *tag, WalredoIndexRef **refs)
{
	return -1;
}
static inline void
walredo_index_distrust(WalredoIndexSegment *index)
{
}
static inline WalredoIndexer *
walredo_indexer_create(WalredoReader *reader)
{
	return NULL;
}
static inline void
walredo_indexer_add(WalredoIndexer *i)
{
}
static inline void
walredo_indexer_free(WalredoIndexer *i)
{
}
#endif
