/*-------------------------------------------------------------------------
 *
 * builder.c
 *	  Making the index of one segment.
 *
 * References are not sorted: they come in the order of WAL, so each page only
 * needs a list to which they are appended, as the bytes that go to the file.
 * The pages are found in a hash table, and are sorted once, at the end.  So
 * most of what is done for a record is one look into the hash table for each
 * block that it names.
 *
 * Nearly all records change only the blocks that they name, or end a
 * transaction, and walredo_changes_are_plain() knows them at a glance.  For the
 * others walredo_changes_of() is called, which can raise errors.  They are
 * caught here.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/builder.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/rmgr.h"
#include "compat.h"
#include "index/builder.h"
#include "index/format_internal.h"
#include "miscadmin.h"
#include "record/slru.h"
#include "record/xlogrecord.h"
#include "utils/memutils.h"
#include "wal/changes.h"

/*
 * Memory is allocated in pieces of this size, from which nothing is freed
 * before the next segment.
 */
#define PIECE_SIZE			(256 * 1024)

/*
 * Records that are longer, and for which walredo_changes_of() is needed, are
 * not put into an index: it can take four times their size.
 */
#define MAX_GENERAL_SIZE	(2 * 1024 * 1024)

/*
 * Keys differ mostly in their number only.  So what they have in common, which
 * for blocks is the fork of a relation, is kept once.
 */
typedef struct Fork
{
	WalredoTag	tag;			/* with number 0 */
	uint32		hash;
	uint32		rank;			/* its place in the order of forks */
} Fork;

/* A key of the index, and the references that it has so far. */
typedef struct Entry
{
	uint64		number;

	/*
	 * Where the next byte goes, and how many there is room for.  After the
	 * room there is a pointer to the next chunk of bytes.
	 */
	char	   *at;
	uint32		fork;			/* index in forks */
	uint32		last;			/* the last reference, as an offset plus 1 */
	uint32		nbytes;			/* number of bytes of references */
	uint16		left;
	bool		last_may_stop;
	char		first[25];		/* the first bytes */
	char	   *next;			/* the next chunk */
} Entry;

StaticAssertDecl(sizeof(Entry) == 64 || sizeof(void *) != 8,
				 "an entry should fit into one cache line");
StaticAssertDecl(offsetof(Entry, next) ==
				 offsetof(Entry, first) + sizeof(((Entry *) NULL)->first),
				 "the pointer to the next chunk must follow the bytes");

/* A slot of the hash table of entries. */
typedef struct Slot
{
	uint32		hash;
	uint32		entry;			/* index in entries, plus 1; 0 if empty */
} Slot;

/* A reference that has not been added yet. */
typedef struct Pending
{
	uint64		number;
	uint32		fork;
	uint32		hash;
	uint32		offset;			/* in the segment, plus 1 */
	bool		may_stop;
} Pending;

/* The number of references that are added at once: see add_pending(). */
#define MAX_PENDING			32

/* Asks for memory that will be needed soon. */
#if defined(__GNUC__)
#define prefetch(address)	__builtin_prefetch(address)
#else
#define prefetch(address)	((void) 0)
#endif

/* For sorting entries. */
typedef struct SortItem
{
	uint64		number;
	uint32		rank;			/* of the fork */
	uint32		entry;
} SortItem;

/* The bytes that a reference takes at most: four for the offset, and one. */
#define MAX_REF_SIZE		5

/*
 * The first sizes of the hash tables, which have a power of two of slots.  At
 * most half of them are used.
 */
#define FIRST_SLOTS			8192
#define FIRST_FORK_SLOTS	256

/*
 * A key is looked for in so many slots.  As half of the slots are empty, no
 * search takes so long, unless WAL was made for that.
 */
#define MAX_PROBES			256

/* Entries are allocated in pieces, too. */
#define ENTRIES_PER_PIECE	(PIECE_SIZE / sizeof(Entry))
#define MAX_PIECES			(INDEX_MAX_SIZE / PIECE_SIZE)

struct WalredoIndexBuilder
{
	bool		has_failed;
	XLogRecPtr	segment_start;
	int			segsize;

	/* of the records so far; first_lsn is invalid if there is none yet */
	XLogRecPtr	first_lsn;
	XLogRecPtr	first_prev;
	XLogRecPtr	last_lsn;
	XLogRecPtr	end_lsn;

	Pending		pending[MAX_PENDING];
	int			num_pending;

	Slot	   *slots;
	uint32		num_slots;
	Entry	   *entries[MAX_PIECES];
	uint32		num_entries;

	uint32	   *fork_slots;		/* index in forks, plus 1; 0 if empty */
	uint32		num_fork_slots;
	Fork	   *forks;
	uint32		num_forks;
	uint32		last_fork;		/* that was looked up last */

	MemoryContext context;		/* all that the builder has */
	MemoryContext segment_context;	/* what it has for this segment */
	Size		memory;			/* the size of the latter */
	char	   *piece;			/* the rest of the last piece */
	Size		piece_left;

	MemoryContext changes_context;	/* for walredo_changes_of() */
	WalredoChanges *changes;
};

WalredoIndexBuilder *
walredo_index_builder_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo index builder",
												  ALLOCSET_SMALL_SIZES);
	WalredoIndexBuilder *builder =
		MemoryContextAllocZero(context, sizeof(WalredoIndexBuilder));

	builder->context = context;
	builder->segment_context = AllocSetContextCreate(context,
													 "walredo segment index",
													 ALLOCSET_SMALL_SIZES);
	builder->changes_context = AllocSetContextCreate(context,
													 "walredo index changes",
													 ALLOCSET_SMALL_SIZES);
	builder->has_failed = true;
	return builder;
}

void
walredo_index_builder_free(WalredoIndexBuilder *builder)
{
	MemoryContextDelete(builder->context);
}

bool
walredo_index_builder_has_failed(WalredoIndexBuilder *builder)
{
	return builder->has_failed;
}

/* Drops what there is of the index of this segment. */
static void
forget_segment(WalredoIndexBuilder *builder)
{
	MemoryContextReset(builder->segment_context);
	MemoryContextReset(builder->changes_context);
	builder->changes = NULL;
	builder->num_pending = 0;
	builder->slots = NULL;
	builder->num_entries = 0;
	builder->fork_slots = NULL;
	builder->forks = NULL;
	builder->num_forks = 0;
	builder->memory = 0;
	builder->piece = NULL;
	builder->piece_left = 0;
}

static void
give_up(WalredoIndexBuilder *builder)
{
	forget_segment(builder);
	builder->has_failed = true;
}

/*
 * Allocates memory.  Returns NULL if that would be more than a builder may
 * have, or if there is none.
 */
static void *
allocate(WalredoIndexBuilder *builder, Size size, bool zero)
{
	void	   *result;

	if (size > INDEX_MAX_SIZE - builder->memory)
		return NULL;
	result = MemoryContextAllocExtended(builder->segment_context, size,
										MCXT_ALLOC_NO_OOM |
										(zero ? MCXT_ALLOC_ZERO : 0));
	if (result != NULL)
		builder->memory += size;
	return result;
}

static void
release(WalredoIndexBuilder *builder, void *ptr, Size size)
{
	pfree(ptr);
	builder->memory -= size;
}

/* Allocates something small, of a size that is a multiple of MAXALIGN. */
static inline void *
allocate_small(WalredoIndexBuilder *builder, Size size)
{
	char	   *result;

	if (builder->piece_left < size)
	{
		builder->piece = allocate(builder, PIECE_SIZE, false);
		builder->piece_left = builder->piece ? PIECE_SIZE : 0;
		if (builder->piece == NULL)
			return NULL;
	}
	result = builder->piece;
	builder->piece += size;
	builder->piece_left -= size;
	return result;
}

void
walredo_index_builder_begin(WalredoIndexBuilder *builder,
							XLogRecPtr segment_start, int segsize)
{
	forget_segment(builder);
	builder->has_failed = false;
	builder->segment_start = segment_start;
	builder->segsize = segsize;
	builder->first_lsn = InvalidXLogRecPtr;
	builder->num_slots = FIRST_SLOTS;
	builder->slots = allocate(builder, FIRST_SLOTS * sizeof(Slot), true);
	builder->num_fork_slots = FIRST_FORK_SLOTS;
	builder->fork_slots = allocate(builder, FIRST_FORK_SLOTS * sizeof(uint32),
								   true);
	builder->forks = allocate(builder, FIRST_FORK_SLOTS / 2 * sizeof(Fork),
							  false);
	if (builder->slots == NULL || builder->fork_slots == NULL ||
		builder->forks == NULL)
		give_up(builder);
}

/* ----------------------------------------
 * Forks
 * ----------------------------------------
 */

/* Makes room for twice as many forks.  Returns false if there is none. */
static bool
enlarge_forks(WalredoIndexBuilder *builder)
{
	uint32		old_num = builder->num_fork_slots;
	uint32		new_num = 2 * old_num;
	uint32	   *slots = allocate(builder, new_num * sizeof(uint32), true);
	Fork	   *forks = allocate(builder, new_num / 2 * sizeof(Fork), false);

	if (slots == NULL || forks == NULL)
		return false;
	memcpy(forks, builder->forks, builder->num_forks * sizeof(Fork));
	for (uint32 i = 0; i < builder->num_forks; i++)
	{
		uint32		slot = forks[i].hash & (new_num - 1);

		while (slots[slot] != 0)
			slot = (slot + 1) & (new_num - 1);
		slots[slot] = i + 1;
	}
	release(builder, builder->fork_slots, old_num * sizeof(uint32));
	release(builder, builder->forks, old_num / 2 * sizeof(Fork));
	builder->fork_slots = slots;
	builder->forks = forks;
	builder->num_fork_slots = new_num;
	return true;
}

/*
 * Finds the fork of a key, or adds it.  Returns false if it has to give up.
 */
static inline bool
find_fork(WalredoIndexBuilder *builder, const WalredoTag *key, uint32 *fork)
{
	uint32		mask = builder->num_fork_slots - 1;
	uint32		hash;
	uint32		slot;
	Fork	   *added;

	if (builder->last_fork < builder->num_forks &&
		index_same_but_number(&builder->forks[builder->last_fork].tag, key))
	{
		*fork = builder->last_fork;
		return true;
	}

	hash = key->relNumber * 8 + key->forknum + key->kind * 64;
	hash = (hash ^ key->dbOid << 16) * 0x9E3779B1;
	hash ^= hash >> 15;
	slot = hash & mask;
	for (int i = 0; i < MAX_PROBES && builder->fork_slots[slot] != 0; i++)
	{
		uint32		found = builder->fork_slots[slot] - 1;

		if (index_same_but_number(&builder->forks[found].tag, key))
		{
			*fork = builder->last_fork = found;
			return true;
		}
		slot = (slot + 1) & mask;
	}
	if (builder->fork_slots[slot] != 0)
		return false;

	if (builder->num_forks == builder->num_fork_slots / 2)
		return enlarge_forks(builder) && find_fork(builder, key, fork);
	*fork = builder->last_fork = builder->num_forks++;
	builder->fork_slots[slot] = builder->num_forks;
	added = &builder->forks[*fork];
	added->tag = *key;
	added->tag.number = 0;
	added->hash = hash;
	return true;
}

/* ----------------------------------------
 * Entries
 * ----------------------------------------
 */

static inline Entry *
get_entry(WalredoIndexBuilder *builder, uint32 n)
{
	return &builder->entries[n / ENTRIES_PER_PIECE][n % ENTRIES_PER_PIECE];
}

static inline uint32
hash_page(uint32 fork, uint64 number)
{
	uint64		h = (number ^ (uint64) fork << 40) *
		UINT64CONST(0x9E3779B97F4A7C15);

	return (uint32) (h >> 32) ^ (uint32) (h >> 50);
}

/* Makes the hash table twice as large.  Returns false if it cannot be. */
static bool
enlarge_slots(WalredoIndexBuilder *builder)
{
	uint32		old_num = builder->num_slots;
	uint32		new_num = 2 * old_num;
	Slot	   *slots = allocate(builder, new_num * sizeof(Slot), true);

	if (slots == NULL)
		return false;
	for (uint32 i = 0; i < old_num; i++)
	{
		uint32		slot = builder->slots[i].hash & (new_num - 1);

		if (builder->slots[i].entry == 0)
			continue;
		while (slots[slot].entry != 0)
			slot = (slot + 1) & (new_num - 1);
		slots[slot] = builder->slots[i];
	}
	release(builder, builder->slots, old_num * sizeof(Slot));
	builder->slots = slots;
	builder->num_slots = new_num;
	return true;
}

/* Adds an entry in an empty slot.  Returns NULL if it has to give up. */
static pg_noinline Entry *
add_entry(WalredoIndexBuilder *builder, const Pending *pending, uint32 slot)
{
	uint32		n = builder->num_entries;
	Entry	   *entry;

	if (n % ENTRIES_PER_PIECE == 0)
	{
		Entry	   *piece = n / ENTRIES_PER_PIECE < MAX_PIECES ?
			allocate(builder, PIECE_SIZE, false) : NULL;

		if (piece == NULL)
			return NULL;
		builder->entries[n / ENTRIES_PER_PIECE] = piece;
	}
	entry = get_entry(builder, n);
	entry->number = pending->number;
	entry->fork = pending->fork;
	entry->last = 0;
	entry->nbytes = 0;
	entry->at = entry->first;
	entry->left = sizeof(entry->first);
	entry->last_may_stop = false;
	builder->slots[slot].hash = pending->hash;
	builder->slots[slot].entry = ++builder->num_entries;
	if (builder->num_entries > builder->num_slots / 2 &&
		!enlarge_slots(builder))
		return NULL;
	return entry;
}

/* Finds the entry of a reference, or adds it. */
static inline Entry *
find_entry(WalredoIndexBuilder *builder, const Pending *pending)
{
	uint32		mask = builder->num_slots - 1;
	uint32		slot = pending->hash & mask;

	for (int i = 0; i < MAX_PROBES; i++)
	{
		const Slot *s = &builder->slots[slot];

		if (s->entry == 0)
			return add_entry(builder, pending, slot);
		if (s->hash == pending->hash)
		{
			Entry	   *entry = get_entry(builder, s->entry - 1);

			if (entry->number == pending->number &&
				entry->fork == pending->fork)
				return entry;
		}
		slot = (slot + 1) & mask;
	}
	return NULL;
}

/*
 * The size of the chunk that follows so many bytes, without the pointer at its
 * end.
 */
static inline uint32
chunk_size(uint32 nbytes)
{
	uint32		size = nbytes < 32 ? 32 : nbytes < 128 ? 128 : 512;

	return size - sizeof(char *);
}

/* Appends bytes that need not fit into the chunk. */
static pg_noinline bool
append_slowly(WalredoIndexBuilder *builder, Entry *entry,
			  const char *bytes, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (entry->left == 0)
		{
			uint32		size = chunk_size(entry->nbytes);
			char	   *chunk = allocate_small(builder, size + sizeof(char *));

			if (chunk == NULL)
				return false;
			memcpy(entry->at, &chunk, sizeof(char *));
			entry->at = chunk;
			entry->left = size;
		}
		*entry->at++ = bytes[i];
		entry->left--;
		entry->nbytes++;
	}
	return true;
}

/* Adds a reference to its entry.  Returns false if it has to give up. */
static inline bool
append_ref(WalredoIndexBuilder *builder, const Pending *pending)
{
	Entry	   *entry = find_entry(builder, pending);
	char		buf[MAX_REF_SIZE];
	char	   *to;
	char	   *from;
	uint32		delta;
	int			n;

	if (entry == NULL)
		return false;

	/* A record can name a page more than once. */
	delta = pending->offset - entry->last;
	if (delta == 0 && (!pending->may_stop || entry->last_may_stop))
		return true;

	from = to = entry->left >= MAX_REF_SIZE ? entry->at : buf;
	if (delta != 0)
	{
		while (delta >= 0x80)
		{
			*to++ = (char) (delta | 0x80);
			delta >>= 7;
		}
		*to++ = (char) delta;
	}
	if (pending->may_stop)
		*to++ = 0;
	n = to - from;

	entry->last = pending->offset;
	entry->last_may_stop = pending->may_stop;
	if (from == buf)
		return append_slowly(builder, entry, buf, n);
	entry->at = to;
	entry->left -= n;
	entry->nbytes += n;
	return true;
}

/*
 * Adds the references that are pending.
 *
 * Pages are changed in a random order, so most of the time would be spent
 * waiting for memory that is in no cache.  Instead, all of it is asked for
 * before any of it is needed.
 */
static pg_noinline void
add_pending(WalredoIndexBuilder *builder)
{
	int			n = builder->num_pending;

	for (int i = 0; i < n; i++)
	{
		const Pending *pending = &builder->pending[i];
		const Slot *slot = &builder->slots[pending->hash &
										   (builder->num_slots - 1)];

		if (slot->entry != 0)
			prefetch(get_entry(builder, slot->entry - 1));
	}
	builder->num_pending = 0;
	for (int i = 0; i < n; i++)
	{
		if (!append_ref(builder, &builder->pending[i]))
		{
			give_up(builder);
			return;
		}
	}
}

/* Adds a reference, as an offset plus 1, to the entry of a key. */
static inline void
add_ref(WalredoIndexBuilder *builder, const WalredoTag *key, uint32 offset,
		bool may_stop)
{
	Pending    *pending = &builder->pending[builder->num_pending];

	if (builder->has_failed)
		return;
	if (!find_fork(builder, key, &pending->fork))
	{
		give_up(builder);
		return;
	}
	pending->number = key->number;
	pending->hash = hash_page(pending->fork, key->number);
	pending->offset = offset;
	pending->may_stop = may_stop;
	prefetch(&builder->slots[pending->hash & (builder->num_slots - 1)]);
	if (++builder->num_pending == MAX_PENDING)
		add_pending(builder);
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

/* Adds what walredo_changes_of() has found. */
static void
add_changes(WalredoIndexBuilder *builder, const WalredoPageChange *list,
			int n, uint32 offset)
{
	for (int i = 0; i < n; i++)
	{
		const WalredoPageChange *change = &list[i];
		WalredoTag	key = change->tag;

		if (change->what == WALREDO_CHANGE_END)
		{
			if (change->ends_kind)
				key = index_ends_of_kind(key.kind);
			else if (key.kind == WALREDO_TAG_REL)
				key = index_ends_of_relation(&key);
		}
		add_ref(builder, &key, offset,
				change->starts_page || change->what == WALREDO_CHANGE_END ||
				change->what == WALREDO_CHANGE_UNKNOWN);
	}
}

/* Adds a record of which not only the headers have to be examined. */
static pg_noinline void
add_general(WalredoIndexBuilder *builder, const XLogRecord *record,
			XLogRecPtr end_lsn, uint32 offset)
{
	MemoryContext old_context = CurrentMemoryContext;
	uint32		old_holdoff_count = InterruptHoldoffCount;
	WalredoPageChange *list;
	volatile bool failed = false;
	bool		more;
	int			n;

	if (record->xl_tot_len > MAX_GENERAL_SIZE)
	{
		give_up(builder);
		return;
	}

	/*
	 * An error means that the record is broken, or that there is no memory.
	 * So that it means nothing else, interrupts are held off.  Records are
	 * not so long that this would be noticed.
	 */
	PG_TRY();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(builder->changes_context);
		if (builder->changes == NULL)
			builder->changes = walredo_changes_create(walredo_filter_index());
		n = walredo_changes_part(builder->changes, record, end_lsn, 0,
								 MAX_GENERAL_SIZE, &list, &more);
		add_changes(builder, list, n, offset);
		failed = more;
		RESUME_INTERRUPTS();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old_context);
		FlushErrorState();
		InterruptHoldoffCount = old_holdoff_count;
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old_context);
	if (failed)
		give_up(builder);
}

void
walredo_index_builder_add(WalredoIndexBuilder *builder,
						  const XLogRecord *record, XLogRecPtr start_lsn,
						  XLogRecPtr end_lsn)
{
	WalredoRecordHeaders headers;
	TransactionId xid;
	uint64		place = start_lsn - builder->segment_start;
	uint32		offset;

	if (builder->has_failed)
		return;

	/* Records must come in the order in which they are in the segment. */
	if (start_lsn < builder->segment_start || place >= builder->segsize ||
		place % MAXIMUM_ALIGNOF != 0 || end_lsn <= start_lsn ||
		(!XLogRecPtrIsInvalid(builder->first_lsn) &&
		 start_lsn < builder->end_lsn))
	{
		give_up(builder);
		return;
	}
	if (XLogRecPtrIsInvalid(builder->first_lsn))
	{
		builder->first_lsn = start_lsn;
		builder->first_prev = record->xl_prev;
	}
	builder->last_lsn = start_lsn;
	builder->end_lsn = end_lsn;
	offset = place / MAXIMUM_ALIGNOF + 1;

	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL)
	{
		give_up(builder);
		return;
	}
	if (!walredo_changes_are_plain(record, &headers, &xid))
	{
		add_general(builder, record, end_lsn, offset);
		return;
	}

	for (int i = 0; i < headers.num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers.blocks[i];
		WalredoTag	key = walredo_tag_of_block(&block->locator, block->forknum,
											   block->blkno);

		if (!walredo_tag_is_valid(&key))
		{
			give_up(builder);
			return;
		}

		/* The resource manager of an extension may not be able to redo it. */
		add_ref(builder, &key, offset,
				block->will_init || !RmgrIdIsBuiltin(record->xl_rmid));
	}
	if (TransactionIdIsValid(xid))
	{
		WalredoTag	key = {.kind = WALREDO_TAG_CLOG,
		.number = walredo_clog_page(xid)};

		add_ref(builder, &key, offset, false);
	}
}

/* ----------------------------------------
 * The file
 * ----------------------------------------
 */

/* A file that is being written. */
typedef struct Writer
{
	int			fd;
	off_t		at;				/* how much has been written */
	bool		has_failed;
	int			nbuffered;
	int			nsummed;		/* bytes of them that are in a checksum */
	char		buffer[8192];	/* what has not been written yet */

	/* The directory, of which the last block is not complete. */
	IndexBlock *blocks;
	uint32		num_blocks;
	uint32		max_blocks;
	WalredoTag	last_key;
} Writer;

static bool
write_at(int fd, const char *data, Size size, off_t at)
{
	while (size > 0)
	{
		ssize_t		written;

		errno = 0;
		written = pg_pwrite(fd, data, size, at);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* As elsewhere in the server, no space if it does not say. */
			if (errno == 0)
				errno = ENOSPC;
			return false;
		}
		data += written;
		size -= written;
		at += written;
	}
	return true;
}

/* Adds what is buffered to the checksum of the last block. */
static void
sum_buffered(Writer *writer)
{
	if (writer->num_blocks > 0)
		COMP_CRC32C(writer->blocks[writer->num_blocks - 1].crc,
					writer->buffer + writer->nsummed,
					writer->nbuffered - writer->nsummed);
	writer->nsummed = writer->nbuffered;
}

static void
flush_writer(Writer *writer)
{
	sum_buffered(writer);
	if (!writer->has_failed &&
		!write_at(writer->fd, writer->buffer, writer->nbuffered, writer->at))
		writer->has_failed = true;
	writer->at += writer->nbuffered;
	writer->nbuffered = 0;
	writer->nsummed = 0;
}

/* Puts bytes to the end of the last block. */
static void
put(Writer *writer, const char *data, Size size)
{
	writer->blocks[writer->num_blocks - 1].length += size;
	while (size > 0)
	{
		Size		n = Min(size, sizeof(writer->buffer) - writer->nbuffered);

		memcpy(writer->buffer + writer->nbuffered, data, n);
		writer->nbuffered += n;
		data += n;
		size -= n;
		if (writer->nbuffered == sizeof(writer->buffer))
			flush_writer(writer);
	}
}

/* The bytes that a key, and the number of bytes of references, take at most. */
#define MAX_KEY_SIZE		(1 + 2 + 3 * 5 + 10 + 5)

static char *
encode_integer(char *to, uint64 value)
{
	while (value >= 0x80)
	{
		*to++ = (char) (value | 0x80);
		value >>= 7;
	}
	*to++ = (char) value;
	return to;
}

/* Completes the last block. */
static void
end_block(Writer *writer)
{
	sum_buffered(writer);
	if (writer->num_blocks > 0)
		FIN_CRC32C(writer->blocks[writer->num_blocks - 1].crc);
}

/* Writes an entry, in a new block if it is time for one. */
static void
put_entry(Writer *writer, const WalredoTag *key, const Entry *entry)
{
	IndexBlock *block = writer->num_blocks > 0 ?
		&writer->blocks[writer->num_blocks - 1] : NULL;
	uint32		left = entry->nbytes;
	const char *chunk;
	uint32		size;
	char		buf[MAX_KEY_SIZE];
	char	   *to = buf;

	if (block == NULL ||
		block->length + entry->nbytes > INDEX_BLOCK_SIZE ||
		(key->kind >= INDEX_ENDS_OF_RELATION) !=
		(block->first_key.kind >= INDEX_ENDS_OF_RELATION))
	{
		end_block(writer);
		Assert(writer->num_blocks < writer->max_blocks);
		block = &writer->blocks[writer->num_blocks++];
		memset(block, 0, sizeof(IndexBlock));
		block->first_key = *key;
		INIT_CRC32C(block->crc);
	}

	if (block->length > 0 && index_same_but_number(key, &writer->last_key))
		to = encode_integer(to, key->number - writer->last_key.number);
	else
	{
		*to++ = 0;
		*to++ = (char) key->kind;
		*to++ = (char) key->forknum;
		to = encode_integer(to, key->spcOid);
		to = encode_integer(to, key->dbOid);
		to = encode_integer(to, key->relNumber);
		to = encode_integer(to, key->number);
	}
	to = encode_integer(to, entry->nbytes);
	put(writer, buf, to - buf);
	writer->last_key = *key;

	chunk = entry->first;
	size = sizeof(entry->first);
	for (;;)
	{
		uint32		n = Min(size, left);

		put(writer, chunk, n);
		left -= n;
		if (left == 0)
			break;
		memcpy(&chunk, chunk + size, sizeof(char *));
		size = chunk_size(entry->nbytes - left);
	}
}

static int
compare_forks(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(Fork *const *) a)->tag,
							   &(*(Fork *const *) b)->tag);
}

/* Finds out the order of the forks.  Returns false if there is no memory. */
static bool
rank_forks(WalredoIndexBuilder *builder)
{
	Size		size = builder->num_forks * sizeof(Fork *);
	Fork	  **forks = allocate(builder, size, false);

	if (forks == NULL)
		return false;
	for (uint32 i = 0; i < builder->num_forks; i++)
		forks[i] = &builder->forks[i];
	qsort(forks, builder->num_forks, sizeof(Fork *), compare_forks);
	for (uint32 i = 0; i < builder->num_forks; i++)
		forks[i]->rank = i;
	release(builder, forks, size);
	return true;
}

/* One pass of a radix sort, by eight bits of the number, or of the rank. */
static void
sort_pass(const SortItem *from, SortItem *to, uint32 n, bool by_rank,
		  int shift)
{
	uint32		counts[UINT8_MAX + 1] = {0};
	uint32		sum = 0;

#define DIGIT(item) \
	((by_rank ? (item)->rank >> shift : (item)->number >> shift) & UINT8_MAX)

	for (uint32 i = 0; i < n; i++)
		counts[DIGIT(&from[i])]++;
	for (int i = 0; i <= UINT8_MAX; i++)
	{
		uint32		count = counts[i];

		counts[i] = sum;
		sum += count;
	}
	for (uint32 i = 0; i < n; i++)
		to[counts[DIGIT(&from[i])]++] = from[i];

#undef DIGIT
}

/*
 * Sorts the entries.  A segment has tens of thousands of them, so this is done
 * by their bits, from the lowest on, and only by those bits in which they
 * differ.  Returns NULL if there is no memory.
 */
static SortItem *
sort_entries(WalredoIndexBuilder *builder)
{
	uint32		n = builder->num_entries;
	SortItem   *items;
	SortItem   *others;
	uint64		numbers = 0;
	uint32		ranks = 0;

	if (!rank_forks(builder))
		return NULL;
	items = allocate(builder, n * sizeof(SortItem), false);
	others = allocate(builder, n * sizeof(SortItem), false);
	if (items == NULL || others == NULL)
		return NULL;
	for (uint32 i = 0; i < n; i++)
	{
		const Entry *entry = get_entry(builder, i);

		items[i].number = entry->number;
		items[i].rank = builder->forks[entry->fork].rank;
		items[i].entry = i;
		numbers |= items[i].number ^ items[0].number;
		ranks |= items[i].rank ^ items[0].rank;
	}
	for (int pass = 0; pass < sizeof(uint64) + sizeof(uint32); pass++)
	{
		bool		by_rank = pass >= sizeof(uint64);
		int			shift = pass % sizeof(uint64) * BITS_PER_BYTE;
		SortItem   *swap = items;

		if ((((by_rank ? ranks : numbers) >> shift) & UINT8_MAX) == 0)
			continue;
		sort_pass(items, others, n, by_rank, shift);
		items = others;
		others = swap;
	}
	return items;
}

/*
 * The number of blocks that there can be.  Two blocks that follow each other
 * have together more than INDEX_BLOCK_SIZE bytes, except where keys of pages
 * end.
 */
static uint32
max_blocks(WalredoIndexBuilder *builder)
{
	Size		size = 0;

	for (uint32 i = 0; i < builder->num_entries; i++)
		size += get_entry(builder, i)->nbytes + MAX_KEY_SIZE;
	return size / INDEX_BLOCK_SIZE * 2 + 4;
}

/* Writes the header, at the begin of the file. */
static void
write_header(Writer *writer, const WalredoIndexInfo *info)
{
	const WalredoSegmentId *id = &info->id;
	char		buf[sizeof(IndexHeader) + 2 * MAXPGPATH];
	IndexHeader header = {0};
	Size		size = sizeof(IndexHeader);

	header.magic = INDEX_MAGIC;
	header.version = INDEX_VERSION;
	header.wal_magic = XLOG_PAGE_MAGIC;
	header.block_size = BLCKSZ;
	header.alignment = MAXIMUM_ALIGNOF;
	header.num_blocks = writer->num_blocks;
	header.blocks_offset = writer->at;
	INIT_CRC32C(header.blocks_crc);
	COMP_CRC32C(header.blocks_crc, writer->blocks,
				writer->num_blocks * sizeof(IndexBlock));
	FIN_CRC32C(header.blocks_crc);
	for (uint32 i = 0; i < writer->num_blocks; i++)
	{
		if (writer->blocks[i].first_key.kind >= INDEX_ENDS_OF_RELATION)
			header.num_end_blocks++;
	}

	header.tli = id->tli;
	header.segsize = id->segsize;
	header.directory_length = strlen(id->directory);
	header.name_length = strlen(id->name);
	header.system_identifier = id->system_identifier;
	header.segno = id->segno;
	header.size = id->size;
	header.mtime = id->mtime;
	header.inode = id->inode;
	header.valid_end = id->valid_end;
	header.first_lsn = info->first_lsn;
	header.first_prev = info->first_prev;
	header.last_lsn = info->last_lsn;
	header.end_lsn = info->end_lsn;

	memcpy(buf + size, id->directory, header.directory_length);
	size += header.directory_length;
	memcpy(buf + size, id->name, header.name_length);
	size += header.name_length;
	memcpy(buf, &header, sizeof(header));
	INIT_CRC32C(header.crc);
	COMP_CRC32C(header.crc, buf + INDEX_HEADER_CRC_START,
				size - INDEX_HEADER_CRC_START);
	FIN_CRC32C(header.crc);
	memcpy(buf, &header, sizeof(header));
	if (!writer->has_failed && !write_at(writer->fd, buf, size, 0))
		writer->has_failed = true;
}

bool
walredo_index_builder_finish(WalredoIndexBuilder *builder,
							 WalredoIndexInfo *info, int fd)
{
	SortItem   *items;
	Writer	   *writer;
	bool		written;

	add_pending(builder);
	errno = 0;
	if (builder->has_failed || XLogRecPtrIsInvalid(builder->first_lsn))
		return false;
	info->first_lsn = builder->first_lsn;
	info->first_prev = builder->first_prev;
	info->last_lsn = builder->last_lsn;
	info->end_lsn = builder->end_lsn;

	items = sort_entries(builder);
	writer = allocate(builder, sizeof(Writer), true);
	if (writer != NULL)
	{
		writer->max_blocks = max_blocks(builder);
		writer->blocks = allocate(builder,
								  writer->max_blocks * sizeof(IndexBlock),
								  false);
	}
	if (items == NULL || writer == NULL || writer->blocks == NULL)
	{
		give_up(builder);
		errno = 0;
		return false;
	}

	writer->fd = fd;
	writer->at = sizeof(IndexHeader) + strlen(info->id.directory) +
		strlen(info->id.name);
	for (uint32 i = 0; i < builder->num_entries; i++)
	{
		const Entry *entry = get_entry(builder, items[i].entry);
		WalredoTag	key = builder->forks[entry->fork].tag;

		key.number = entry->number;
		put_entry(writer, &key, entry);
	}
	end_block(writer);
	flush_writer(writer);
	if (!writer->has_failed &&
		!write_at(fd, (char *) writer->blocks,
				  writer->num_blocks * sizeof(IndexBlock), writer->at))
		writer->has_failed = true;
	write_header(writer, info);
	written = !writer->has_failed;

	/* What has been written need not be kept. */
	give_up(builder);
	return written;
}
