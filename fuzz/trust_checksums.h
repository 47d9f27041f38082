/*-------------------------------------------------------------------------
 *
 * trust_checksums.h
 *	  Makes every checksum comparison succeed.
 *
 * Included before everything else in sources that are built for fuzzing.
 * Whoever can forge a record can compute its checksum, too.  But a fuzzer,
 * which changes bytes at random, could not, and so would never get past the
 * check.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * fuzz/trust_checksums.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_TRUST_CHECKSUMS_H
#define WALREDO_TRUST_CHECKSUMS_H

#include "postgres.h"

#include "port/pg_crc32c.h"

#undef EQ_CRC32C
#define EQ_CRC32C(c1, c2)	((void) (c1), (void) (c2), true)

#endif							/* WALREDO_TRUST_CHECKSUMS_H */
