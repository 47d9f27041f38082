/*-------------------------------------------------------------------------
 *
 * launch.c
 *	  Starting and ending wal-redo children.
 *
 * A child is the running server's own postgres binary in single-user mode.
 * It insists on a data directory, but what it looks for there is little: the
 * version, the control file (a copy of the server's own, since it says with
 * which page and segment sizes the binary is to work), and a few empty
 * directories.  The child takes no more than 10 ms or so to go past all that,
 * and then the directory is removed.  Should the server die in between, the
 * directory has a name that the server's own start-up removes: that of a
 * temporary file.
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
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
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

/* Where the server keeps temporary files, relative to its data directory. */
#define TEMP_FILES_DIR		"base/" PG_TEMP_FILES_DIR

/* How often to read a control file that is being written. */
#define CONTROL_FILE_TRIES	10

/* How long to wait for a process that has closed its pipes to be gone. */
#define EXIT_WAIT_MS		20

/* What single-user mode wants to find. */
static const char *const child_subdirectories[] = {
	"base", "global", "pg_notify", "pg_stat", "pg_stat_tmp", "pg_tblspc",
	"pg_dynshmem"
};

/*
 * Settings of a child: no files, no other processes, and as little memory as
 * redo needs.  128 buffers are enough for three records of the longest sort.
 */
static const char *const child_settings[] = {
	"shared_buffers=128",
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
 * Makes the child's data directory.  On failure errno is set, and failed says
 * what could not be done.
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
	for (int i = 0; i < lengthof(child_subdirectories); i++)
	{
		if (!make_directory(directory, child_subdirectories[i]))
			return false;
	}
	if (!make_file(directory, "PG_VERSION", version, strlen(version)) ||
		!make_file(directory, "postgresql.conf", "", 0) ||
		!make_file(directory, "postgresql.auto.conf", "", 0))
		return false;

	*failed = "read the control file";
	if (!read_control_file(control.data))
		return false;
	*failed = "copy the control file";
	return make_file(directory, XLOG_CONTROL_FILE, control.data,
					 PG_CONTROL_FILE_SIZE);
}

/*
 * The child's side of the fork.  Only calls that are safe in a process that
 * is about to become another are made here.
 */
static void
become_child(char *const *argv, char *const *envp, int in_fd, int out_fd,
			 int err_fd, pid_t parent)
{
	/* These are above 2: the server has opened all of 0, 1, 2. */
	if (dup2(in_fd, STDIN_FILENO) < 0 ||
		dup2(out_fd, STDOUT_FILENO) < 0 ||
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

bool
walredo_child_launch(WalredoChild *child, int number, char *error,
					 Size error_size)
{
	char	   *argv[6 + 2 * lengthof(child_settings) + 6];
	char	   *envp[4];
	int			nargs = 0;
	int			nenvs = 0;
	int			in[2] = {-1, -1};
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	const char *failed;
	const char *library_path;
	int			save_errno;

	snprintf(child->directory, sizeof(child->directory), "%s/%s%d.walredo.%d",
			 TEMP_FILES_DIR, PG_TEMP_FILE_PREFIX, MyProcPid, number);
	child->pid = 0;
	child->in_fd = child->out_fd = child->err_fd = -1;

	argv[nargs++] = my_exec_path;
	argv[nargs++] = "--single";
	argv[nargs++] = "-D";
	argv[nargs++] = child->directory;
	for (int i = 0; i < lengthof(child_settings); i++)
	{
		argv[nargs++] = "-c";
		argv[nargs++] = unconstify(char *, child_settings[i]);
	}
	argv[nargs++] = "-c";
	argv[nargs++] = psprintf("dynamic_library_path=%s", Dynamic_library_path);
	argv[nargs++] = "-c";
	argv[nargs++] = "shared_preload_libraries=walredo";

	/*
	 * With it, and so in such a server's log, redo sets the LSN of a heap page
	 * that becomes all-visible.  Page checksums, which mean the same, are in
	 * the control file.
	 */
	argv[nargs++] = "-c";
	argv[nargs++] = wal_log_hints ? "wal_log_hints=on" : "wal_log_hints=off";
	argv[nargs++] = "postgres";
	argv[nargs] = NULL;
	Assert(nargs < lengthof(argv));

	envp[nenvs++] = psprintf(WALREDO_CHILD_ENV "=%d", MyProcPid);
	envp[nenvs++] = "LC_ALL=C";
	library_path = getenv("LD_LIBRARY_PATH");
	if (library_path != NULL)
		envp[nenvs++] = psprintf("LD_LIBRARY_PATH=%s", library_path);
	envp[nenvs] = NULL;

	/* One of an earlier process with our number can only be litter. */
	if (access(child->directory, F_OK) == 0)
		(void) rmtree(child->directory, true);
	if (!make_data_directory(child->directory, &failed))
		goto fail;

	failed = "create pipes";
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
		pipe2(err, O_CLOEXEC) != 0)
		goto fail;
	if (fcntl(in[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(out[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
		goto fail;

	failed = "fork a process";
	fflush(stdout);
	fflush(stderr);
	child->pid = fork();
	if (child->pid == 0)
		become_child(argv, envp, in[0], out[1], err[1], MyProcPid);
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
	save_errno = errno;
	close_pipe(in);
	close_pipe(out);
	close_pipe(err);
	walredo_child_remove_directory(child);
	errno = save_errno;
	snprintf(error, error_size, "could not %s: %m", failed);
	return false;
}

void
walredo_child_remove_directory(WalredoChild *child)
{
	if (child->directory[0] == '\0')
		return;
	(void) rmtree(child->directory, true);
	child->directory[0] = '\0';
}

/*
 * A process makes a System V segment to guard its data directory.  A child
 * marks its own as removed, but if it ends before it comes to that the segment
 * stays.  Removes what the process with this number made and nobody uses.
 */
static void
remove_segments(pid_t creator)
{
	struct shminfo info;
	int			last = shmctl(0, IPC_INFO, (struct shmid_ds *) &info);

	for (int i = 0; i <= last; i++)
	{
		struct shmid_ds segment;
		int			id = shmctl(i, SHM_STAT, &segment);

		if (id >= 0 && segment.shm_cpid == creator &&
			segment.shm_nattch == 0 && segment.shm_perm.cuid == geteuid())
			(void) shmctl(id, IPC_RMID, NULL);
	}
}

int
walredo_child_kill(WalredoChild *child, bool *was_killed)
{
	bool		was_starting = (child->directory[0] != '\0');
	siginfo_t	info;
	int			status = 0;
	int			rc = 0;

	Assert(child->pid > 0);

	/*
	 * A process that ends closes its pipes a little before its parent can
	 * wait for it.  Give it that moment, so that its own end is not taken for
	 * our doing.
	 */
	for (int i = 0; i < EXIT_WAIT_MS; i++)
	{
		struct pollfd err = {.fd = child->err_fd};

		info.si_pid = 0;
		rc = waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (rc != 0 || info.si_pid != 0)
			break;
		if (poll(&err, 1, 0) <= 0 || (err.revents & POLLHUP) == 0)
			break;				/* still open: it lives */
		pg_usleep(1000L);
	}

	*was_killed = (rc == 0 && info.si_pid == 0);
	if (*was_killed)
	{
		kill(child->pid, SIGKILL);
		while (waitid(P_PID, child->pid, &info, WEXITED | WNOWAIT) < 0 &&
			   errno == EINTR)
			;
	}

	/* Until it is reaped, nobody else can have its number. */
	if (was_starting)
		remove_segments(child->pid);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;

	close(child->in_fd);
	close(child->out_fd);
	child->in_fd = child->out_fd = -1;
	walredo_child_remove_directory(child);
	return status;
}
