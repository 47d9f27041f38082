/*-------------------------------------------------------------------------
 *
 * template.h
 *	  The process that wal-redo children are forked from.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/template.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_TEMPLATE_H
#define WALREDO_TEMPLATE_H

/*
 * Makes writable memory that would be shared with forked processes private to
 * each.  Returns NULL on success, else which step failed, with errno set.
 */
extern const char *walredo_template_unshare_memory(void);

/*
 * Forks children on order, see proto.h.  Returns in each of them, with the
 * descriptors of the order as 0, 1 and 2, and whom it serves; in the template
 * itself it does not return.
 */
extern const char *walredo_template_serve(void);

#endif							/* WALREDO_TEMPLATE_H */
