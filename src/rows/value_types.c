/*-------------------------------------------------------------------------
 *
 * value_types.c
 *	  What the values of each built-in base type must be like.
 *
 * The table at the end has all base types of all supported versions, also those
 * of which any value will do.  A type that it lacks is refused, so that a type
 * of a later version is not taken for one of those.
 *
 * A check is for what the functions of the type trust, and what the function
 * that receives a value of the type from a client refuses.  What a value means
 * is not checked: an OID need not be that of an object.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value_types.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>

#include "catalog/pg_type.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rows/value_types.h"
#include "statistics/statistics.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/geo_decls.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/varbit.h"

/*
 * The form of a numeric, from numeric.c.  It begins with a word, whose two
 * highest bits say what it is.
 */
#define NUMERIC_SIGN_MASK	0xC000
#define NUMERIC_SHORT		0x8000
#define NUMERIC_SPECIAL		0xC000
#define NUMERIC_NAN			0xC000
#define NUMERIC_PINF		0xD000
#define NUMERIC_NINF		0xF000
#define NUMERIC_BASE		10000

/* The offsets in pg_snapshot in xid8funcs.c, and of its first transaction. */
#define SNAPSHOT_XMIN_OFFSET	4
#define SNAPSHOT_XMAX_OFFSET	12
#define SNAPSHOT_XIP_OFFSET		20

/* The words of a header of extended statistics: magic, type, and count. */
#define STATISTICS_HEADER_SIZE	(3 * sizeof(uint32))

bool
walredo_value_is_too_deep(const char **problem)
{
	if (!stack_is_too_deep())
		return false;
	*problem = pstrdup("The value is nested too deeply.");
	return true;
}

static bool
check_bool(Datum value, const char **problem)
{
	unsigned char byte = (unsigned char) DatumGetChar(value);

	if (byte <= 1)
		return true;
	*problem = psprintf("A boolean is %u, neither 0 nor 1.", byte);
	return false;
}

static bool
check_name(Datum value, const char **problem)
{
	const char *name = DatumGetPointer(value);
	Size		length = strnlen(name, NAMEDATALEN);

	if (length == NAMEDATALEN)
	{
		*problem = psprintf("A name is longer than %d bytes.",
							NAMEDATALEN - 1);
		return false;
	}
	return walredo_check_text(name, length, problem);
}

static bool
check_date(Datum value, const char **problem)
{
	DateADT		date = DatumGetDateADT(value);

	if (DATE_NOT_FINITE(date) || IS_VALID_DATE(date))
		return true;
	*problem = psprintf("A date is %d days after 2000-01-01, which is out of range.",
						date);
	return false;
}

static bool
is_time(int64 time)
{
	return time >= 0 && time <= USECS_PER_DAY;
}

static bool
check_time(Datum value, const char **problem)
{
	TimeADT		time = DatumGetTimeADT(value);

	if (is_time(time))
		return true;
	*problem = psprintf("A time is " INT64_FORMAT " microseconds after midnight, which is out of range.",
						(int64) time);
	return false;
}

static bool
check_timetz(Datum value, const char **problem)
{
	TimeTzADT	time;

	/* The type has less bytes than the struct. */
	memset(&time, 0, sizeof(time));
	memcpy(&time, DatumGetPointer(value), sizeof(int64) + sizeof(int32));
	if (is_time(time.time) &&
		time.zone > -TZDISP_LIMIT && time.zone < TZDISP_LIMIT)
		return true;
	*problem = psprintf("A time is " INT64_FORMAT " microseconds after midnight, and its time zone is %d seconds west of UTC, which is out of range.",
						(int64) time.time, time.zone);
	return false;
}

static bool
check_timestamp(Datum value, const char **problem)
{
	Timestamp	timestamp = DatumGetTimestamp(value);

	if (TIMESTAMP_NOT_FINITE(timestamp) || IS_VALID_TIMESTAMP(timestamp))
		return true;
	*problem = psprintf("A timestamp is " INT64_FORMAT " microseconds after 2000-01-01, which is out of range.",
						(int64) timestamp);
	return false;
}

bool
walredo_check_text(const char *data, Size size, const char **problem)
{
	if (size <= INT_MAX && pg_verifymbstr(data, (int) size, true))
		return true;
	*problem = psprintf("A text of %zu bytes is not valid in encoding \"%s\".",
						size, GetDatabaseEncodingName());
	return false;
}

bool
walredo_check_numeric(const char *data, Size size, const char **problem)
{
	uint16		header;
	Size		header_size = sizeof(uint16);

	if (size < header_size)
	{
		*problem = psprintf("A numeric has %zu bytes only.", size);
		return false;
	}
	header = walredo_get_uint16(data);
	if ((header & NUMERIC_SIGN_MASK) == NUMERIC_SPECIAL)
	{
		/* Very old NaNs can be longer. */
		if (header == NUMERIC_NAN ||
			((header == NUMERIC_PINF || header == NUMERIC_NINF) &&
			 size == header_size))
			return true;
		*problem = psprintf("A numeric of %zu bytes has the unknown header %04X.",
							size, header);
		return false;
	}
	if ((header & NUMERIC_SIGN_MASK) != NUMERIC_SHORT)
		header_size += sizeof(int16);
	if (size < header_size || (size - header_size) % sizeof(int16) != 0)
	{
		*problem = psprintf("A numeric has %zu bytes, which is no number of digits.",
							size);
		return false;
	}
	for (Size i = header_size; i < size; i += sizeof(int16))
	{
		int			digit = (int16) walredo_get_uint16(data + i);

		if (digit < 0 || digit >= NUMERIC_BASE)
		{
			*problem = psprintf("A numeric has the digit %d, which is not in base %d.",
								digit, NUMERIC_BASE);
			return false;
		}
	}
	return true;
}

static bool
check_bits(const char *data, Size size, const char **problem)
{
	int32		length;
	Size		bytes;
	int			padding;

	if (size < sizeof(int32))
	{
		*problem = psprintf("A bit string has %zu bytes only.", size);
		return false;
	}
	length = (int32) walredo_get_uint32(data);
	bytes = size - sizeof(int32);
	if (length < 0 ||
		bytes != ((Size) length + BITS_PER_BYTE - 1) / BITS_PER_BYTE)
	{
		*problem = psprintf("A bit string of %d bits has %zu bytes.",
							length, bytes);
		return false;
	}
	padding = (int) (bytes * BITS_PER_BYTE - length);
	if (padding > 0 &&
		(data[size - 1] & (BITMASK >> (BITS_PER_BYTE - padding))) != 0)
	{
		*problem = psprintf("A bit string of %d bits has others after them.",
							length);
		return false;
	}
	return true;
}

static bool
check_inet(const char *data, Size size, const char **problem)
{
	Size		header_size = offsetof(inet_struct, ipaddr);
	inet_struct address;
	int			address_size;

	memset(&address, 0, sizeof(address));
	memcpy(&address, data, Min(size, sizeof(address)));
	address_size = address.family == PGSQL_AF_INET ? 4 : 16;
	if (size < header_size ||
		(address.family != PGSQL_AF_INET &&
		 address.family != PGSQL_AF_INET6) ||
		size != header_size + address_size ||
		address.bits > address_size * BITS_PER_BYTE)
	{
		*problem = psprintf("A network address of family %u and %u bits has %zu bytes.",
							address.family, address.bits, size);
		return false;
	}
	return true;
}

static bool
check_cidr(const char *data, Size size, const char **problem)
{
	inet_struct address;
	int			address_bits;

	if (!check_inet(data, size, problem))
		return false;
	memset(&address, 0, sizeof(address));
	memcpy(&address, data, size);
	address_bits = (int) (size - offsetof(inet_struct, ipaddr)) * BITS_PER_BYTE;
	for (int i = address.bits; i < address_bits; i++)
	{
		if (address.ipaddr[i / BITS_PER_BYTE] & (0x80 >> i % BITS_PER_BYTE))
		{
			*problem = psprintf("A network of %u bits has others to the right of them.",
								address.bits);
			return false;
		}
	}
	return true;
}

/* Points that follow size_before bytes, of which the first are their number. */
static bool
check_points(const char *data, Size size, Size size_before,
			 const char **problem)
{
	int32		npoints = 0;

	if (size >= sizeof(int32))
		npoints = (int32) walredo_get_uint32(data);
	if (size < size_before || npoints <= 0 ||
		(size - size_before) % sizeof(Point) != 0 ||
		(size - size_before) / sizeof(Point) != npoints)
	{
		*problem = psprintf("A path or polygon of %d points has %zu bytes.",
							npoints, size);
		return false;
	}
	return true;
}

static bool
check_path(const char *data, Size size, const char **problem)
{
	return check_points(data, size, offsetof(PATH, p) - VARHDRSZ, problem);
}

static bool
check_polygon(const char *data, Size size, const char **problem)
{
	return check_points(data, size, offsetof(POLYGON, p) - VARHDRSZ, problem);
}

/*
 * A snapshot, of type txid_snapshot or pg_snapshot: as in pg_snapshot_recv().
 */
static bool
check_snapshot(const char *data, Size size, const char **problem)
{
	uint32		nxip = 0;
	uint64		xmin;
	uint64		xmax;
	uint64		last = 0;

	if (size >= sizeof(uint32))
		nxip = walredo_get_uint32(data);
	if (size < SNAPSHOT_XIP_OFFSET ||
		(size - SNAPSHOT_XIP_OFFSET) % sizeof(uint64) != 0 ||
		(size - SNAPSHOT_XIP_OFFSET) / sizeof(uint64) != nxip)
	{
		*problem = psprintf("A snapshot of %u transactions has %zu bytes.",
							nxip, size);
		return false;
	}
	xmin = walredo_get_uint64(data + SNAPSHOT_XMIN_OFFSET);
	xmax = walredo_get_uint64(data + SNAPSHOT_XMAX_OFFSET);
	for (uint32 i = 0; i < nxip; i++)
	{
		uint64		xid = walredo_get_uint64(data + SNAPSHOT_XIP_OFFSET +
											 i * sizeof(uint64));

		CHECK_FOR_INTERRUPTS();
		if (xid < xmin || xid > xmax || xid <= last)
		{
			*problem = pstrdup("The transactions of a snapshot are not in their order, or out of its range.");
			return false;
		}
		last = xid;
	}
	if (xmin == 0 || xmax < xmin)
	{
		*problem = psprintf("A snapshot is of transactions from " UINT64_FORMAT " to " UINT64_FORMAT ".",
							xmin, xmax);
		return false;
	}
	return true;
}

/*
 * Items of extended statistics.  Each has a number of item_type, which is a
 * number of columns, and these follow.  Before the number is a double.
 */
static bool
check_statistics(const char *data, Size size, uint32 magic, uint32 type,
				 Size count_size, const char **problem)
{
	uint32		nitems;
	Size		offset = STATISTICS_HEADER_SIZE;

	if (size < STATISTICS_HEADER_SIZE ||
		walredo_get_uint32(data) != magic ||
		walredo_get_uint32(data + sizeof(uint32)) != type)
	{
		*problem = psprintf("Extended statistics do not begin with %08X and %u.",
							magic, type);
		return false;
	}
	nitems = walredo_get_uint32(data + 2 * sizeof(uint32));
	for (uint32 i = 0; i < nitems; i++)
	{
		int64		ncolumns = 0;

		CHECK_FOR_INTERRUPTS();
		if (size - offset >= sizeof(double) + count_size)
		{
			offset += sizeof(double);
			ncolumns = count_size == sizeof(AttrNumber) ?
				(AttrNumber) walredo_get_uint16(data + offset) :
				(int32) walredo_get_uint32(data + offset);
			offset += count_size;
		}
		if (ncolumns < 2 || ncolumns > STATS_MAX_DIMENSIONS ||
			size - offset < ncolumns * sizeof(AttrNumber))
		{
			*problem = psprintf("Item %u of %u of extended statistics is broken.",
								i + 1, nitems);
			return false;
		}
		offset += ncolumns * sizeof(AttrNumber);
	}
	if (nitems == 0 || offset != size)
	{
		*problem = psprintf("Extended statistics have %u items in %zu bytes of %zu.",
							nitems, offset, size);
		return false;
	}
	return true;
}

static bool
check_ndistinct(const char *data, Size size, const char **problem)
{
	return check_statistics(data, size, STATS_NDISTINCT_MAGIC,
							STATS_NDISTINCT_TYPE_BASIC, sizeof(int), problem);
}

static bool
check_dependencies(const char *data, Size size, const char **problem)
{
	return check_statistics(data, size, STATS_DEPS_MAGIC,
							STATS_DEPS_TYPE_BASIC, sizeof(AttrNumber), problem);
}

/*
 * Values that are in indexes only: nothing makes one that could be stored in a
 * table.
 */
static bool
check_impossible(const char *data, Size size, const char **problem)
{
	*problem = pstrdup("A value of this type cannot be in a table.");
	return false;
}

/*
 * A tree of nodes is read by functions that trust it, like pg_get_expr(): they
 * take numbers in it for addresses.  For that reason, the type has no input.
 */
static bool
check_node_tree(const char *data, Size size, const char **problem)
{
	if (superuser())
		return walredo_check_text(data, size, problem);
	*problem = pstrdup("Only superusers can read trees of nodes, as these cannot be checked.");
	return false;
}

static const WalredoBuiltinType builtin_types[] = {
	{BOOLOID, check_bool, NULL},
	{CHAROID, NULL, NULL},
	{NAMEOID, check_name, NULL},
	{INT2OID, NULL, NULL},
	{INT4OID, NULL, NULL},
	{INT8OID, NULL, NULL},
	{FLOAT4OID, NULL, NULL},
	{FLOAT8OID, NULL, NULL},
	{MONEYOID, NULL, NULL},
	{NUMERICOID, NULL, walredo_check_numeric},
	{UUIDOID, NULL, NULL},

	{TEXTOID, NULL, walredo_check_text},
	{VARCHAROID, NULL, walredo_check_text},
	{BPCHAROID, NULL, walredo_check_text},
	{BYTEAOID, NULL, NULL},
	{REFCURSOROID, NULL, walredo_check_text},
	{JSONOID, NULL, walredo_check_text},
	{XMLOID, NULL, walredo_check_text},
	{JSONBOID, NULL, walredo_check_jsonb},
	{JSONPATHOID, NULL, walredo_check_jsonpath},
	{TSVECTOROID, NULL, walredo_check_tsvector},
	{TSQUERYOID, NULL, walredo_check_tsquery},
	{BITOID, NULL, check_bits},
	{VARBITOID, NULL, check_bits},

	{DATEOID, check_date, NULL},
	{TIMEOID, check_time, NULL},
	{TIMETZOID, check_timetz, NULL},
	{TIMESTAMPOID, check_timestamp, NULL},
	{TIMESTAMPTZOID, check_timestamp, NULL},
	{INTERVALOID, NULL, NULL},

	{POINTOID, NULL, NULL},
	{LSEGOID, NULL, NULL},
	{LINEOID, NULL, NULL},
	{BOXOID, NULL, NULL},
	{CIRCLEOID, NULL, NULL},
	{PATHOID, NULL, check_path},
	{POLYGONOID, NULL, check_polygon},
	{INETOID, NULL, check_inet},
	{CIDROID, NULL, check_cidr},
	{MACADDROID, NULL, NULL},
	{MACADDR8OID, NULL, NULL},

	{OIDOID, NULL, NULL},
	{OID8OID, NULL, NULL},
	{XIDOID, NULL, NULL},
	{XID8OID, NULL, NULL},
	{CIDOID, NULL, NULL},
	{TIDOID, NULL, NULL},
	{LSNOID, NULL, NULL},
	{PG_SNAPSHOTOID, NULL, check_snapshot},
	{TXID_SNAPSHOTOID, NULL, check_snapshot},
	{ACLITEMOID, NULL, NULL},
	{REGPROCOID, NULL, NULL},
	{REGPROCEDUREOID, NULL, NULL},
	{REGOPEROID, NULL, NULL},
	{REGOPERATOROID, NULL, NULL},
	{REGCLASSOID, NULL, NULL},
	{REGCOLLATIONOID, NULL, NULL},
	{REGTYPEOID, NULL, NULL},
	{REGROLEOID, NULL, NULL},
	{REGNAMESPACEOID, NULL, NULL},
	{REGCONFIGOID, NULL, NULL},
	{REGDICTIONARYOID, NULL, NULL},
	{REGDATABASEOID, NULL, NULL},

	{PG_NODE_TREEOID, NULL, check_node_tree},
	{PG_NDISTINCTOID, NULL, check_ndistinct},
	{PG_DEPENDENCIESOID, NULL, check_dependencies},
	{GTSVECTOROID, NULL, check_impossible},
	{PG_BRIN_BLOOM_SUMMARYOID, NULL, check_impossible},
	{PG_BRIN_MINMAX_MULTI_SUMMARYOID, NULL, check_impossible},
};

const WalredoBuiltinType *
walredo_builtin_type(Oid typid)
{
	for (int i = 0; i < lengthof(builtin_types); i++)
	{
		/* A type that this version lacks has an invalid OID. */
		if (OidIsValid(typid) && builtin_types[i].typid == typid)
			return &builtin_types[i];
	}
	return NULL;
}
