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
 * Replaces all writable memory that is shared, and so would stay shared with
 * forked processes, by private memory with the same contents.  Returns NULL on
 * success, else which step failed, with errno set.
 */
extern const char *walredo_template_unshare_memory(void);

/*
 * Forks children on the worker's orders, see proto.h.  In each child it returns
 * the title of the order, which names the database and the role that the child
 * serves; the descriptors of the order are 0, 1 and 2 then.  In the template
 * itself it does not return.
 */
extern const char *walredo_template_serve(void);

#endif							/* WALREDO_TEMPLATE_H */
