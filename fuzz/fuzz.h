/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  What the files of the fuzzing module share.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * fuzz/fuzz.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_FUZZ_H
#define WALREDO_FUZZ_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "lib/stringinfo.h"

/*
 * A target: code of walredo that is given inputs.
 *
 * run is given an input, and may raise any of the errors whose codes are in
 * errors.  clean_up, if there is one, is called after each input, also after
 * an error.  seed makes inputs of a record of real WAL, and hands them to
 * fuzz_seed(); seed_once, if there is one, makes inputs that no record is
 * needed for.
 */
typedef struct FuzzTarget
{
	const char *name;
	void		(*run) (const char *data, Size size);
	void		(*clean_up) (void);
	void		(*seed) (const XLogRecord *record, XLogRecPtr end_lsn);
	void		(*seed_once) (void);
	const int  *errors;			/* ends with 0 */
} FuzzTarget;

/*
 * Set by a target as soon as it has accepted an input: from there on no error
 * may be raised.
 */
extern bool fuzz_accepted;

/* Reports a finding, and aborts, which makes libFuzzer keep the input. */
extern void fuzz_fail(const char *fmt,...) pg_attribute_printf(1, 2)
			__attribute__((noreturn));

/* Writes a seed. */
extern void fuzz_seed(const char *data, Size size);

/* child.c */
extern void fuzz_child_run(const char *data, Size size);
extern void fuzz_child_clean_up(void);
extern void fuzz_child_seed(const XLogRecord *record, XLogRecPtr end_lsn);
extern void fuzz_child_seed_once(void);

/* index.c */
extern void fuzz_index_run(const char *data, Size size);
extern void fuzz_index_seed_once(void);

#endif							/* WALREDO_FUZZ_H */
