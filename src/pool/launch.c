/*-------------------------------------------------------------------------
 *
 * launch.c
 *	  Starting and ending wal-redo children.
 *
 * Children are forked from a template (see child/template.c).  That is the
 * running server's own postgres binary, started in single-user mode, in which
 * our library takes over before a database is opened.
 *
 * Single-user mode insists on a data directory, but it looks for little there
 * until then: the version, a few empty directories, and the control file.  That
 * must be a copy of the server's own, since it says which page and segment
 * sizes the binary must have been built for; only the secret in it is left
 * out.  The template needs the directory for some 10 ms, and then it is
 * removed.  If the server should crash in that time, its next start removes the
 * directory, which has the name of a temporary file for this reason.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/launch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "common/file_perm.h"
#include "common/file_utils.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pool/launch.h"
#include "port/pg_crc32c.h"
#include "proto/proto.h"
#include "storage/fd.h"
#include "utils/guc.h"

/* Where the server keeps temporary files, relative to its data directory. */
#define TEMP_FILES_DIR		"base/" PG_TEMP_FILES_DIR

/* How often to read a control file that is being written. */
#define CONTROL_FILE_TRIES	10

/* How long to wait for a process that has closed a pipe to end. */
#define EXIT_WAIT_MS		1000

/*
 * How long a template may take to fork a child.  The worker does nothing else
 * while it waits for that, and a template has nothing else to do, so this is
 * short.
 */
#define FORK_WAIT_MS		1000

/* The directories that single-user mode expects below its data directory. */
static const char *const template_subdirectories[] = {
	"base", "global", "pg_notify", "pg_stat", "pg_stat_tmp", "pg_tblspc",
	"pg_dynshmem"
};

/*
 * Settings of a template.  It uses no files, starts no other processes, and
 * takes as little memory as redo needs.  64 buffers are enough for the record
 * that names most pages, and for some pages that stay from record to record.
 */
static const char *const template_settings[] = {
	"shared_buffers=64",
	"max_connections=1",
	"superuser_reserved_connections=0",
	"max_worker_processes=0",
	"max_wal_senders=0",
	"max_replication_slots=0",
	"max_prepared_transactions=0",
	"autovacuum_max_workers=1",
	"max_locks_per_transaction=10",
	"max_pred_locks_per_transaction=10",
	"wal_level=minimal",
	"wal_buffers=4",
	"fsync=off",
	"huge_pages=off",
	"shared_memory_type=mmap",
	"dynamic_shared_memory_type=mmap",
	"log_destination=stderr",
	"logging_collector=off",
	"log_line_prefix=",
	"log_min_messages=warning",
	"lc_messages=C",
#ifdef WALREDO_CHILD_IO_SETTING
	WALREDO_CHILD_IO_SETTING,
#endif
};

static bool
make_directory(const char *parent, const char *name)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	return mkdir(path, S_IRWXU) == 0;
}

static bool
make_file(const char *parent, const char *name, const void *contents,
		  Size size)
{
	char		path[MAXPGPATH];
	int			fd;
	bool		ok;

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			  S_IRUSR | S_IWUSR);
	if (fd < 0)
		return false;
	errno = 0;
	ok = (write(fd, contents, size) == size);
	if (!ok && errno == 0)
		errno = ENOSPC;
	close(fd);
	return ok;
}

/*
 * Reads the server's control file, of PG_CONTROL_FILE_SIZE bytes, into
 * contents.  If a checkpoint is writing it at the moment, the checksum will be
 * wrong; try again then.  False, with errno, if it could not be read.
 */
static bool
read_control_file(char *contents)
{
	for (int i = 0; i < CONTROL_FILE_TRIES; i++)
	{
		const ControlFileData *control = (const ControlFileData *) contents;
		pg_crc32c	crc;
		int			fd;
		ssize_t		n;

		fd = open(XLOG_CONTROL_FILE, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return false;
		n = read(fd, contents, PG_CONTROL_FILE_SIZE);
		close(fd);
		if (n < 0)
			return false;
		if (n == PG_CONTROL_FILE_SIZE)
		{
			INIT_CRC32C(crc);
			COMP_CRC32C(crc, contents, offsetof(ControlFileData, crc));
			FIN_CRC32C(crc);
			if (EQ_CRC32C(crc, control->crc))
				return true;
		}
		pg_usleep(1000L);
	}
	errno = EIO;
	return false;
}

/*
 * Clears the one secret in a control file.  The server makes the salt that it
 * sends for a role that does not exist out of this nonce.  Who knew the nonce
 * could tell such salts from real ones, and so find out which roles exist.
 */
static void
clear_secrets(char *contents)
{
	ControlFileData *control = (ControlFileData *) contents;

	memset(control->mock_authentication_nonce, 0,
		   sizeof(control->mock_authentication_nonce));
	INIT_CRC32C(control->crc);
	COMP_CRC32C(control->crc, contents, offsetof(ControlFileData, crc));
	FIN_CRC32C(control->crc);
}

/*
 * Makes the template's data directory, with all that single-user mode expects
 * in it.  On failure returns false with errno, and failed says what could not
 * be done.
 */
static bool
make_data_directory(const char *directory, const char **failed)
{
	union
	{
		char		data[PG_CONTROL_FILE_SIZE];
		ControlFileData force_align;
	}			control;
	const char *version = PG_MAJORVERSION "\n";

	*failed = "create its data directory";
	if (mkdir(TEMP_FILES_DIR, pg_dir_create_mode) != 0 && errno != EEXIST)
		return false;
	if (mkdir(directory, S_IRWXU) != 0)
		return false;
	for (int i = 0; i < lengthof(template_subdirectories); i++)
	{
		if (!make_directory(directory, template_subdirectories[i]))
			return false;
	}
	if (!make_file(directory, "PG_VERSION", version, strlen(version)) ||
		!make_file(directory, "postgresql.conf", "", 0) ||
		!make_file(directory, "postgresql.auto.conf", "", 0))
		return false;

	*failed = "read the control file";
	if (!read_control_file(control.data))
		return false;
	clear_secrets(control.data);
	*failed = "copy the control file";
	return make_file(directory, XLOG_CONTROL_FILE, control.data,
					 PG_CONTROL_FILE_SIZE);
}

/*
 * Runs in the new process after fork(), and executes the postgres binary.  As
 * the process still shares the worker's state until then, only system calls are
 * made here, and a failure ends it with _exit().
 */
static void
become_template(char *const *argv, char *const *envp, int order_fd,
				int err_fd, pid_t parent)
{
	/*
	 * Neither descriptor is one of those that it is to become, since the
	 * server has 0, 1 and 2 open.
	 */
	if (dup2(order_fd, STDIN_FILENO) < 0 ||
		dup2(err_fd, STDOUT_FILENO) < 0 ||
		dup2(err_fd, STDERR_FILENO) < 0)
		_exit(127);
	closefrom(STDERR_FILENO + 1);

	/*
	 * If the parent died before it could be asked for the signal, that will
	 * never come, but this process has another parent by now.
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(127);

	execve(my_exec_path, argv, envp);
	_exit(127);
}

static void
close_pipe(int fds[2])
{
	for (int i = 0; i < 2; i++)
	{
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Removes the template's data directory, if it is still there. */
static void
remove_directory(WalredoTemplate *template)
{
	if (template->directory[0] == '\0')
		return;
	(void) rmtree(template->directory, true);
	template->directory[0] = '\0';
}

static void
add_setting(char **argv, int *nargs, char *setting)
{
	argv[(*nargs)++] = "-c";
	argv[(*nargs)++] = setting;
}

/* Room for settings that are not constant, and the other arguments. */
#define MAX_TEMPLATE_ARGS	(2 * (lengthof(template_settings) + 6) + 6)

/* Makes the template's command line, a list that ends with NULL. */
static void
make_arguments(char **argv, char *directory)
{
	int			segment_mb = wal_segment_size / (1024 * 1024);
	int			nargs = 0;

	argv[nargs++] = my_exec_path;
	argv[nargs++] = "--single";
	argv[nargs++] = "-D";
	argv[nargs++] = directory;

	for (int i = 0; i < lengthof(template_settings); i++)
		add_setting(argv, &nargs, unconstify(char *, template_settings[i]));
	add_setting(argv, &nargs,
				psprintf("dynamic_library_path=%s", Dynamic_library_path));
	add_setting(argv, &nargs, "shared_preload_libraries=walredo");
	add_setting(argv, &nargs, psprintf("cluster_name=%s", cluster_name));

	/*
	 * The server refuses values of less than two segments.  A segment can
	 * have up to 1 GB, so the defaults may be less than that.
	 */
	add_setting(argv, &nargs, psprintf("min_wal_size=%d", 2 * segment_mb));
	add_setting(argv, &nargs, psprintf("max_wal_size=%d", 2 * segment_mb));

	/*
	 * With wal_log_hints, redo sets the LSN of a heap page that becomes
	 * all-visible.  Page checksums have the same effect; whether there are
	 * any is in the control file.
	 */
	add_setting(argv, &nargs,
				wal_log_hints ? "wal_log_hints=on" : "wal_log_hints=off");

	/* The database, which will never be opened. */
	argv[nargs++] = "postgres";
	argv[nargs] = NULL;
	Assert(nargs < MAX_TEMPLATE_ARGS);
}

#define MAX_TEMPLATE_ENVS	6

/* Makes the template's environment, a list that ends with NULL. */
static void
make_environment(char **envp)
{
	const char *library_path = getenv("LD_LIBRARY_PATH");
	int			nenvs = 0;

	envp[nenvs++] = psprintf(WALREDO_CHILD_ENV "=%d", MyProcPid);
	envp[nenvs++] = "LC_ALL=C";

	/*
	 * The binary may be linked with these libraries, which take some time to
	 * initialize.  Nothing in a child uses them.
	 */
	envp[nenvs++] = "GNUTLS_NO_IMPLICIT_INIT=1";
	envp[nenvs++] = "OPENSSL_CONF=/dev/null";
	if (library_path != NULL)
		envp[nenvs++] = psprintf("LD_LIBRARY_PATH=%s", library_path);
	envp[nenvs] = NULL;
	Assert(nenvs < MAX_TEMPLATE_ENVS);
}

/*
 * Makes a template's data directory and its pipes, and starts its process.  On
 * failure returns false with errno, and failed says what could not be done; the
 * directory may be there then.
 */
static bool
start_template_process(WalredoTemplate *template, const char **failed)
{
	char	   *argv[MAX_TEMPLATE_ARGS];
	char	   *envp[MAX_TEMPLATE_ENVS];
	int			order[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			save_errno;
	pid_t		pid;

	make_arguments(argv, template->directory);
	make_environment(envp);

	/*
	 * If there is such a directory already, it was left behind by an earlier
	 * process with our process ID.
	 */
	if (access(template->directory, F_OK) == 0)
		(void) rmtree(template->directory, true);
	if (!make_data_directory(template->directory, failed))
		return false;

	*failed = "create pipes";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, order) != 0 ||
		pipe2(err, O_CLOEXEC) != 0)
		goto fail;
	if (fcntl(order[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
		goto fail;

	*failed = "fork a process";
	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (pid == 0)
		become_template(argv, envp, order[0], err[1], MyProcPid);
	if (pid < 0)
		goto fail;

	close(order[0]);
	close(err[1]);
	template->pid = pid;
	template->order_fd = order[1];
	template->err_fd = err[0];
	return true;

fail:
	save_errno = errno;
	close_pipe(order);
	close_pipe(err);
	errno = save_errno;
	return false;
}

bool
walredo_template_launch(WalredoTemplate *template, char *error,
						Size error_size)
{
	const char *failed;
	int			save_errno;

	Assert(template->state == TEMPLATE_NONE);
	snprintf(template->directory, sizeof(template->directory),
			 "%s/%s%d.walredo", TEMP_FILES_DIR, PG_TEMP_FILE_PREFIX,
			 MyProcPid);
	template->pid = 0;
	template->order_fd = template->err_fd = -1;

	if (!start_template_process(template, &failed))
	{
		save_errno = errno;
		remove_directory(template);
		errno = save_errno;
		snprintf(error, error_size, "could not %s: %m", failed);
		return false;
	}
	template->state = TEMPLATE_STARTING;
	return true;
}

bool
walredo_template_read_reply(WalredoTemplate *template)
{
	int32		reply;
	ssize_t		n;

	n = recv(template->order_fd, &reply, sizeof(reply), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;

	/* Once it is ready, all that it sends are replies to orders. */
	if (n != sizeof(reply) || template->state != TEMPLATE_STARTING ||
		reply != WALREDO_TEMPLATE_READY)
		return false;
	template->state = TEMPLATE_READY;
	remove_directory(template);
	return true;
}

/*
 * Has the template fork a child with the given descriptors as its 0, 1, 2
 * and 3.
 * Returns the process ID, or -1 with errno set.  The template is BROKEN then,
 * unless it has replied that it could not fork.
 */
static pid_t
order_child(WalredoTemplate *template, const int fds[WALREDO_CHILD_NUM_FDS],
			const char *title)
{
	WalredoTemplateOrder order = {WALREDO_TEMPLATE_ORDER};
	struct pollfd pollfd = {template->order_fd, POLLIN, 0};
	int32		reply;
	int			rc;

	template->state = TEMPLATE_BROKEN;
	strlcpy(order.title, title, sizeof(order.title));
	if (!walredo_send_fds(template->order_fd, &order, sizeof(order), fds,
						  WALREDO_CHILD_NUM_FDS, MSG_DONTWAIT))
		return -1;
	do
	{
		rc = poll(&pollfd, 1, FORK_WAIT_MS);
	} while (rc < 0 && errno == EINTR);
	if (rc == 0)
		errno = ETIMEDOUT;
	if (rc <= 0)
		return -1;
	errno = EPROTO;
	if (recv(template->order_fd, &reply, sizeof(reply), 0) != sizeof(reply))
		return -1;
	template->state = TEMPLATE_READY;

	if (reply <= 0)
	{
		errno = -reply;
		return -1;
	}
	return reply;
}

/*
 * Opens the reading end of a pipe once more, for reading that does not wait.
 * The mode of the other descriptor stays as it is.
 */
static int
open_for_looking(int fd)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

bool
walredo_child_launch(WalredoTemplate *template, WalredoChild *child,
					 const char *title, char *error, Size error_size)
{
	int			in[2] = {-1, -1};
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			look_fd = -1;
	int			ends[WALREDO_CHILD_NUM_FDS];	/* those that the child gets */
	const char *failed;

	Assert(template->state == TEMPLATE_READY);
	child->pid = 0;
	child->in_fd = child->out_fd = child->err_fd = -1;

	failed = "create pipes";
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
		pipe2(err, O_CLOEXEC) != 0)
		goto fail;
	if (fcntl(in[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(out[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
		goto fail;
	look_fd = open_for_looking(in[0]);
	if (look_fd < 0)
		goto fail;

	failed = "fork a process";
	ends[0] = in[0];
	ends[1] = out[1];
	ends[2] = err[1];
	ends[3] = look_fd;
	child->pid = order_child(template, ends, title);
	if (child->pid < 0)
	{
		child->pid = 0;
		goto fail;
	}

	close(in[0]);
	close(out[1]);
	close(err[1]);
	close(look_fd);
	child->in_fd = in[1];
	child->out_fd = out[0];
	child->err_fd = err[0];
	return true;

fail:
	snprintf(error, error_size, "could not %s: %m", failed);
	close_pipe(in);
	close_pipe(out);
	close_pipe(err);
	if (look_fd >= 0)
		close(look_fd);
	return false;
}

/*
 * Removes the System V shared memory segment of a process that has ended.  A
 * template marks its segment for removal as soon as our library runs in it, but
 * if it is killed in the milliseconds before that, the segment stays.
 */
static void
remove_segments(pid_t pid)
{
	struct shm_info info;
	struct shmid_ds segment;
	int			max_index;

	max_index = shmctl(0, SHM_INFO, (struct shmid_ds *) (void *) &info);
	for (int i = 0; i <= max_index; i++)
	{
		int			id = shmctl(i, SHM_STAT, &segment);

		if (id >= 0 && segment.shm_cpid == pid && segment.shm_nattch == 0 &&
			segment.shm_perm.cuid == geteuid())
			(void) shmctl(id, IPC_RMID, NULL);
	}
}

/*
 * Kills and reaps a process, of which fds are our ends of its pipes.  Returns
 * what walredo_child_kill() does.
 */
static int
end_process(pid_t pid, const int *fds, int nfds, bool *was_killed)
{
	int			status = 0;
	pid_t		rc = 0;

	Assert(pid > 0);

	/*
	 * A process that exits closes its pipes, one after the other, a little
	 * before waitpid() can find it.  If it has begun to do so, give it that
	 * moment; else we would kill a process that is exiting, and report that
	 * as the reason why it ended.
	 */
	for (int i = 0; i < EXIT_WAIT_MS; i++)
	{
		bool		closing = false;

		rc = waitpid(pid, &status, WNOHANG);
		if (rc != 0)
			break;
		for (int j = 0; j < nfds; j++)
		{
			struct pollfd end = {.fd = fds[j]};

			if (poll(&end, 1, 0) > 0)
				closing |= (end.revents & (POLLHUP | POLLERR)) != 0;
		}
		if (!closing)
			break;				/* it is not exiting */
		pg_usleep(1000L);
	}

	*was_killed = (rc == 0);
	if (rc == 0)
	{
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	return status;
}

int
walredo_child_kill(WalredoChild *child, bool *was_killed)
{
	const int	fds[] = {child->in_fd, child->out_fd, child->err_fd};
	int			status = end_process(child->pid, fds, lengthof(fds),
									 was_killed);

	child->pid = 0;
	close(child->in_fd);
	close(child->out_fd);
	child->in_fd = child->out_fd = -1;
	return status;
}

int
walredo_template_kill(WalredoTemplate *template, bool *was_killed)
{
	const int	fds[] = {template->order_fd, template->err_fd};
	pid_t		pid = template->pid;
	int			status = end_process(pid, fds, lengthof(fds), was_killed);

	template->pid = 0;
	close(template->order_fd);
	template->order_fd = -1;

	/* Its segment and its directory are gone as soon as it is ready. */
	if (template->state == TEMPLATE_STARTING)
	{
		remove_segments(pid);
		remove_directory(template);
	}
	template->state = TEMPLATE_NONE;
	return status;
}
