/*-------------------------------------------------------------------------
 *
 * value_types.h
 *	  What the values of each built-in base type must be like.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/value_types.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_VALUE_TYPES_H
#define WALREDO_ROWS_VALUE_TYPES_H

#include "postgres.h"

/*
 * Checks a value of a type that is not a varlena.  Returns false and sets
 * *problem to a sentence, palloc'd, if it is none of the type.
 */
typedef bool (*WalredoDatumCheck) (Datum value, const char **problem);

/*
 * Checks a varlena in the same way.  It is given size bytes after the varlena's
 * header, which need not be aligned: the header can have one byte, where the
 * functions of the type get a copy with a header of four bytes.  What is
 * aligned in the value is aligned if its header has four bytes.
 */
typedef bool (*WalredoContentsCheck) (const char *data, Size size,
									  const char **problem);

/* How values of a built-in base type are checked. */
typedef struct WalredoBuiltinType
{
	Oid			typid;
	WalredoDatumCheck check_datum;	/* NULL if any value will do */
	WalredoContentsCheck check_contents;	/* NULL if any value will do */
} WalredoBuiltinType;

/*
 * Finds a built-in base type.  Returns NULL if there is none, or if the value
 * consists of values of another type, as that of an int2vector.
 */
extern const WalredoBuiltinType *walredo_builtin_type(Oid typid);

extern bool walredo_check_text(const char *data, Size size,
							   const char **problem);
extern bool walredo_check_numeric(const char *data, Size size,
								  const char **problem);

/* value_json.c */
extern bool walredo_check_jsonb(const char *data, Size size,
								const char **problem);
extern bool walredo_check_jsonpath(const char *data, Size size,
								   const char **problem);

/* value_tsearch.c */
extern bool walredo_check_tsvector(const char *data, Size size,
								   const char **problem);
extern bool walredo_check_tsquery(const char *data, Size size,
								  const char **problem);

/*
 * Is there no stack left for deeper values?  Then sets *problem.  The server
 * would raise an error, which one broken value must not do.
 */
extern bool walredo_value_is_too_deep(const char **problem);

/* Gets numbers that need not be aligned. */
static inline uint16
walredo_get_uint16(const char *bytes)
{
	uint16		number;

	memcpy(&number, bytes, sizeof(number));
	return number;
}

static inline uint32
walredo_get_uint32(const char *bytes)
{
	uint32		number;

	memcpy(&number, bytes, sizeof(number));
	return number;
}

static inline uint64
walredo_get_uint64(const char *bytes)
{
	uint64		number;

	memcpy(&number, bytes, sizeof(number));
	return number;
}

#endif							/* WALREDO_ROWS_VALUE_TYPES_H */
