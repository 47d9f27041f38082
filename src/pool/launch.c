/*-------------------------------------------------------------------------
 *
 * launch.c
 *	  Starting and ending wal-redo children.
 *
 * Children are forked from a template, which is the running server's own
 * postgres binary in single-user mode, taken over (see child/template.c).  It
 * insists on a data directory, but what it looks for there is little: the
 * version, the control file (a copy of the server's own, since it says with
 * which page and segment sizes the binary is to work, but without the secret in
 * it), and a few empty directories.  The template takes no more than 10 ms or
 * so to go past all that, and then the directory is removed.  Should the server
 * die in between, the directory has a name that the server's own start-up
 * removes: that of a temporary file.
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

/* How long to wait for a process that has closed its pipes to be gone. */
#define EXIT_WAIT_MS		1000

/*
 * How long a template may take to fork a child, which it has nothing else to
 * do than.  The worker waits for it.
 */
#define FORK_WAIT_MS		1000

/* What single-user mode wants to find. */
static const char *const template_subdirectories[] = {
	"base", "global", "pg_notify", "pg_stat", "pg_stat_tmp", "pg_tblspc",
	"pg_dynshmem"
};

/*
 * Settings of a template: no files, no other processes, and as little memory as
 * redo needs.  64 buffers are enough for a record of the longest sort, and
 * for some pages that stay from record to record.
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
 * Reads the server's control file.  A checkpoint may be writing it, which
 * shows in its checksum.
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
 * Takes out of a control file what is nobody's business in a child: from the
 * nonce, the server makes the salts that it shows to those who try to log in as
 * a role that does not exist, which would tell them from real ones.
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
 * Makes the template's data directory.  On failure errno is set, and failed
 * says what could not be done.
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
 * The new process's side of the fork.  Only calls that are safe in a process
 * that is about to become another are made here.
 */
static void
become_template(char *const *argv, char *const *envp, int order_fd,
				int err_fd, pid_t parent)
{
	/* These are above 2: the server has opened all of 0, 1, 2. */
	if (dup2(order_fd, STDIN_FILENO) < 0 ||
		dup2(err_fd, STDOUT_FILENO) < 0 ||
		dup2(err_fd, STDERR_FILENO) < 0)
		_exit(127);
	closefrom(STDERR_FILENO + 1);

	/* If the parent has gone already, the signal would never come. */
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

/*
 * Removes the template's data directory, which it needs only until it is
 * ready.
 */
static void
remove_directory(WalredoTemplate *template)
{
	if (template->directory[0] == '\0')
		return;
	(void) rmtree(template->directory, true);
	template->directory[0] = '\0';
}

bool
walredo_template_launch(WalredoTemplate *template, char *error,
						Size error_size)
{
	char	   *argv[4 + 2 * (lengthof(template_settings) + 6) + 2];
	char	   *envp[6];
	int			nargs = 0;
	int			nenvs = 0;
	int			order[2] = {-1, -1};
	int			err[2] = {-1, -1};
	const char *failed;
	const char *library_path;
	int			save_errno;

	snprintf(template->directory, sizeof(template->directory),
			 "%s/%s%d.walredo", TEMP_FILES_DIR, PG_TEMP_FILE_PREFIX,
			 MyProcPid);
	template->pid = 0;
	template->order_fd = template->err_fd = -1;
	template->ready = false;

	argv[nargs++] = my_exec_path;
	argv[nargs++] = "--single";
	argv[nargs++] = "-D";
	argv[nargs++] = template->directory;
	for (int i = 0; i < lengthof(template_settings); i++)
	{
		argv[nargs++] = "-c";
		argv[nargs++] = unconstify(char *, template_settings[i]);
	}
	argv[nargs++] = "-c";
	argv[nargs++] = psprintf("dynamic_library_path=%s", Dynamic_library_path);
	argv[nargs++] = "-c";
	argv[nargs++] = "shared_preload_libraries=walredo";
	argv[nargs++] = "-c";
	argv[nargs++] = psprintf("cluster_name=%s", cluster_name);

	/* Neither may be less than two segments, whose size can be up to 1 GB. */
	argv[nargs++] = "-c";
	argv[nargs++] = psprintf("min_wal_size=%d",
							 2 * (wal_segment_size / (1024 * 1024)));
	argv[nargs++] = "-c";
	argv[nargs++] = psprintf("max_wal_size=%d",
							 2 * (wal_segment_size / (1024 * 1024)));

	/*
	 * With it, and so in such a server's log, redo sets the LSN of a heap
	 * page that becomes all-visible.  Page checksums, which mean the same,
	 * are in the control file.
	 */
	argv[nargs++] = "-c";
	argv[nargs++] = wal_log_hints ? "wal_log_hints=on" : "wal_log_hints=off";
	argv[nargs++] = "postgres";
	argv[nargs] = NULL;
	Assert(nargs < lengthof(argv));

	envp[nenvs++] = psprintf(WALREDO_CHILD_ENV "=%d", MyProcPid);
	envp[nenvs++] = "LC_ALL=C";

	/* Libraries that the binary is linked with, and nothing here needs. */
	envp[nenvs++] = "GNUTLS_NO_IMPLICIT_INIT=1";
	envp[nenvs++] = "OPENSSL_CONF=/dev/null";
	library_path = getenv("LD_LIBRARY_PATH");
	if (library_path != NULL)
		envp[nenvs++] = psprintf("LD_LIBRARY_PATH=%s", library_path);
	envp[nenvs] = NULL;

	/* One of an earlier process with our number can only be litter. */
	if (access(template->directory, F_OK) == 0)
		(void) rmtree(template->directory, true);
	if (!make_data_directory(template->directory, &failed))
		goto fail;

	failed = "create pipes";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, order) != 0 ||
		pipe2(err, O_CLOEXEC) != 0)
		goto fail;
	if (fcntl(order[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
		goto fail;

	failed = "fork a process";
	fflush(stdout);
	fflush(stderr);
	template->pid = fork();
	if (template->pid == 0)
		become_template(argv, envp, order[0], err[1], MyProcPid);
	if (template->pid < 0)
	{
		template->pid = 0;
		goto fail;
	}

	close(order[0]);
	close(err[1]);
	template->order_fd = order[1];
	template->err_fd = err[0];
	return true;

fail:
	save_errno = errno;
	close_pipe(order);
	close_pipe(err);
	remove_directory(template);
	errno = save_errno;
	snprintf(error, error_size, "could not %s: %m", failed);
	return false;
}

bool
walredo_template_hear(WalredoTemplate *template)
{
	int32		answer;
	ssize_t		n;

	n = recv(template->order_fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;

	/* Once it is ready, it speaks only when it is spoken to. */
	if (n != sizeof(answer) || template->ready ||
		answer != WALREDO_TEMPLATE_READY)
		return false;
	template->ready = true;
	remove_directory(template);
	return true;
}

/*
 * Has the template fork a child that has the given descriptors.  Returns the
 * process ID, or -1 with errno set; the template is not ready any more if it
 * is to blame.
 */
static pid_t
order_child(WalredoTemplate *template, const int fds[3], const char *title)
{
	WalredoTemplateOrder order = {WALREDO_TEMPLATE_ORDER};
	struct pollfd pollfd = {template->order_fd, POLLIN, 0};
	int32		answer;
	int			rc;

	template->ready = false;
	strlcpy(order.title, title, sizeof(order.title));
	if (!walredo_send_fds(template->order_fd, &order, sizeof(order), fds, 3,
						  MSG_DONTWAIT))
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
	if (recv(template->order_fd, &answer, sizeof(answer), 0) != sizeof(answer))
		return -1;
	template->ready = true;

	if (answer <= 0)
	{
		errno = -answer;
		return -1;
	}
	return answer;
}

bool
walredo_child_launch(WalredoTemplate *template, WalredoChild *child,
					 const char *title, char *error, Size error_size)
{
	int			in[2] = {-1, -1};
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			ends[3];		/* the child's own */
	const char *failed;

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

	failed = "fork a process";
	ends[0] = in[0];
	ends[1] = out[1];
	ends[2] = err[1];
	child->pid = order_child(template, ends, title);
	if (child->pid < 0)
	{
		child->pid = 0;
		goto fail;
	}

	close(in[0]);
	close(out[1]);
	close(err[1]);
	child->in_fd = in[1];
	child->out_fd = out[0];
	child->err_fd = err[0];
	return true;

fail:
	snprintf(error, error_size, "could not %s: %m", failed);
	close_pipe(in);
	close_pipe(out);
	close_pipe(err);
	return false;
}

/*
 * Removes the System V segment that a process which is no more has made.  A
 * template marks its own for removal as soon as it can, but for some
 * milliseconds at its start it has one that would stay.
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
 * Kills and reaps a process.  fds are our ends of what it reads from and
 * writes to.  Returns its status as waitpid() has it, and in was_killed if it
 * was still alive.
 */
static int
end_process(pid_t pid, const int *fds, int nfds, bool *was_killed)
{
	int			status = 0;
	pid_t		rc = 0;

	Assert(pid > 0);

	/*
	 * A process that ends closes its pipes, one after the other, a little
	 * before its parent can wait for it.  If it has begun, give it that
	 * moment, so that its own end is not taken for our doing.
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
			break;				/* it lives */
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

	/* Until it is ready, it has them both. */
	if (!template->ready)
		remove_segments(pid);
	template->ready = false;
	remove_directory(template);
	return status;
}
