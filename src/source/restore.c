/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Getting segments and history files by a shell command.
 *
 * walredo.restore_command is what the server's restore_command is in recovery:
 * it is asked for a file by its name, and puts it where it is told to.  There
 * are three differences.
 *
 * The file goes to a directory of this session, never to pg_wal.  It is below
 * the server's directory for temporary files and has a name like theirs, so
 * that the server itself removes it if it is started after a crash, and that
 * backups leave it out.  The session removes it when it exits.  Tools put more
 * into that directory than they are asked for: segments that they expect to be
 * asked for next.  So it is removed with all that is in it.  If a session was
 * killed and the server keeps temporary files after a crash, the next session
 * that needs such a directory removes that of the dead one.
 *
 * The files that were fetched last are kept, because a query may read WAL more
 * than once, and so do the queries after it.
 *
 * The session goes on to react to interrupts while the command runs, whereas
 * system() could not be left before the command has ended.  Whatever ends the
 * query also ends the command, with all processes that it has started.  They
 * are in a process group of their own for this.  Should the session be killed,
 * it cannot do that any more, and the signal that the kernel can send to a
 * process whose parent dies is not inherited by that process's own children.
 * So the leader of the group is a shell that does nothing but wait for the one
 * that executes the command, and to which the kernel sends SIGTERM when the
 * session dies.  Then it kills the group, itself included.  The leader cannot
 * be a process that has only been forked, since that would stay attached to the
 * server's shared memory, so that the server could not be restarted.
 *
 * A process that the command has put into the background goes on when the
 * command has ended, as it does in recovery, because it may be fetching the
 * next segments into our directory.  It must end before that is removed.  A
 * process that has made a session of its own, as a daemon does, has been left
 * behind on purpose, and nothing is done about it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/restore.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/xlog_internal.h"
#include "common/file_perm.h"
#include "common/file_utils.h"
#include "compat.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "progress/progress.h"
#include "source/restore.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Where the server keeps temporary files, relative to its data directory. */
#define TEMP_FILES_DIR		"base/" PG_TEMP_FILES_DIR

/* The name of a session's directory is this and the session's process ID. */
#define DIRECTORY_PREFIX	PG_TEMP_FILE_PREFIX "_walredo."

/* How often to look whether the command has ended. */
#define MIN_POLL_MS			1
#define MAX_POLL_MS			10

/*
 * How long to wait for processes that have been killed to be gone.  They also
 * count while they are zombies, and in some containers nobody reaps them.
 */
#define KILL_WAIT_MS		100

/*
 * What the leader of the process group executes; $1 is the command.  A shell
 * gives a process that it runs in the background /dev/null as standard input,
 * unless told otherwise, which makes no difference here, but some complain.  A
 * trap is executed while the shell waits, but not while it runs a process in
 * the foreground.
 */
static char leader_script[] =
"trap 'trap - TERM; kill -s KILL 0' TERM\n"
"/bin/sh -c -- \"$1\" <&0 &\n"
"wait \"$!\"\n";

/* A file that is kept, or that is being fetched. */
typedef struct RestoredFile
{
	dlist_node	node;
	char		name[MAXFNAMELEN];
} RestoredFile;

/* Settings */
char	   *walredo_restore_command = NULL;
int			walredo_restore_segments = 8;

/* The directory, as soon as it has been made. */
static char directory[MAXPGPATH] = "";

/* What is in it, last used first, and the command that it came from. */
static dlist_head files = DLIST_STATIC_INIT(files);
static int	num_files = 0;
static char *files_command = NULL;

/* The leader of the command that is running, or 0 if there is none. */
static pid_t running_leader = 0;

/* Whether an earlier command has left processes in the background. */
static bool left_processes = false;

/* ----------------------------------------
 * The setting
 * ----------------------------------------
 */

bool
walredo_check_restore_command(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL)
		return true;

	for (const char *p = *newval; *p != '\0'; p++)
	{
		if (*p != '%')
			continue;

		p++;
		if (*p == '\0')
		{
			GUC_check_errdetail("String ends unexpectedly after escape character \"%%\".");
			return false;
		}
		if (*p != 'f' && *p != 'p' && *p != '%')
		{
			GUC_check_errdetail("String contains unexpected placeholder at \"%s\".",
								p - 1);
			GUC_check_errhint("Valid placeholders are \"%%f\", \"%%p\" and \"%%%%\".");
			return false;
		}
	}
	return true;
}

bool
walredo_restore_is_enabled(void)
{
	return walredo_restore_command != NULL &&
		walredo_restore_command[0] != '\0';
}

/*
 * The command to get one file; palloc'd.  Neither the name nor the path has a
 * character that means something to a shell.
 */
static char *
build_command(const char *name, const char *path)
{
	StringInfoData command;

	initStringInfo(&command);
	for (const char *p = walredo_restore_command; *p != '\0'; p++)
	{
		if (*p != '%')
		{
			appendStringInfoChar(&command, *p);
			continue;
		}
		p++;
		if (*p == 'f')
			appendStringInfoString(&command, name);
		else if (*p == 'p')
			appendStringInfoString(&command, path);
		else
		{
			Assert(*p == '%');
			appendStringInfoChar(&command, '%');
		}
	}
	return command.data;
}

/* ----------------------------------------
 * Processes
 * ----------------------------------------
 */

/*
 * Runs in the new process after fork(), with all signals blocked, and executes
 * the shell that leads the group.  As the process still shares the session's
 * state until then, only system calls are made here, and a failure ends it with
 * _exit(), as a command that could not be executed.
 */
static void
become_leader(char *const *argv, pid_t parent)
{
	struct sigaction action;
	sigset_t	none;
	int			null_fd;

	/*
	 * No handler of the session's may run here.  Signals that the session
	 * ignores, such as SIGPIPE, would be ignored by the command, too.
	 */
	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	sigemptyset(&action.sa_mask);
	for (int signo = 1; signo < NSIG; signo++)
		(void) sigaction(signo, &action, NULL);

	if (setpgid(0, 0) != 0)
		_exit(127);

	/* What the command prints goes to the server log. */
	null_fd = open("/dev/null", O_RDONLY);
	if (null_fd < 0 ||
		dup2(null_fd, STDIN_FILENO) < 0 ||
		dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	closefrom(STDERR_FILENO + 1);

	/*
	 * If the parent died before it could be asked for the signal, that will
	 * never come, but this process has another parent by now.
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
		_exit(127);

	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);

	execve(argv[0], argv, environ);
	_exit(127);
}

/* Starts the command, and sets running_leader. */
static void
start_command(char *command)
{
	char	   *argv[] = {"/bin/sh", "-c", leader_script, "walredo", command,
	NULL};
	pid_t		parent = getpid();
	sigset_t	all;
	sigset_t	saved;
	pid_t		pid;

	Assert(running_leader == 0);
	fflush(stdout);
	fflush(stderr);

	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &saved);
	pid = fork();
	if (pid == 0)
		become_leader(argv, parent);
	if (pid > 0)
	{
		running_leader = pid;

		/*
		 * Both processes do this, so that whichever comes first, there is a
		 * group to be killed.
		 */
		(void) setpgid(pid, pid);
	}
	(void) sigprocmask(SIG_SETMASK, &saved, NULL);

	if (pid < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not fork a process for the restore command: %m")));
}

/*
 * Whether the leader has ended.  It is not reaped, so that no other process
 * can get its process ID, nor any other group that ID.
 */
static bool
leader_has_ended(bool *normally)
{
	siginfo_t	info;

	memset(&info, 0, sizeof(info));
	if (waitid(P_PID, running_leader, &info,
			   WEXITED | WNOHANG | WNOWAIT) != 0)
	{
		if (errno == EINTR)
			return false;
		elog(ERROR, "could not wait for the restore command: %m");
	}
	*normally = (info.si_code == CLD_EXITED && info.si_status <= 125);
	return info.si_pid != 0;
}

/*
 * Reaps the leader.  Returns the status that waitpid() gives; if somebody else
 * has reaped it, one that says that it was killed, as nothing else is known.
 */
static int
reap_leader(void)
{
	int			status = SIGKILL;

	while (waitpid(running_leader, &status, 0) < 0 && errno == EINTR)
		;
	if (kill(-running_leader, 0) == 0)
		left_processes = true;
	running_leader = 0;
	return status;
}

/* Kills all processes of the command.  Returns what reap_leader() does. */
static int
kill_command(void)
{
	pid_t		group = running_leader;
	int			status;

	(void) kill(-group, SIGKILL);
	status = reap_leader();

	/*
	 * The others are not our children.  Until they are gone, they can finish
	 * the creation of a file.
	 */
	for (int i = 0; i < KILL_WAIT_MS && kill(-group, 0) == 0; i++)
		pg_usleep(1000L);
	return status;
}

/*
 * Waits for the command.  If it was not ended by itself, or the shell could not
 * execute it, what it may have started is killed.  Returns the status.
 */
static int
wait_for_command(void)
{
	static uint32 wait_event_info = 0;
	long		timeout = MIN_POLL_MS;
	bool		normally;

	if (wait_event_info == 0)
		wait_event_info = walredo_wait_event("WalredoRestoreCommand",
											 WAIT_EVENT_RESTORE_COMMAND);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();

		if (leader_has_ended(&normally))
			return normally ? reap_leader() : kill_command();

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, wait_event_info);
		ResetLatch(MyLatch);
		timeout = Min(2 * timeout, MAX_POLL_MS);
	}
}

/*
 * Returns the process group of a process, from its directory below /proc, or 0
 * if it is gone or a zombie, or is not in this process's session.
 */
static pid_t
group_in_session(const char *pid)
{
	char		path[MAXPGPATH];
	char		stat[512];
	char	   *end_of_name;
	char		state;
	int			group;
	int			session;
	int			fd;
	ssize_t		n;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	stat[n] = '\0';

	/* The name is in parentheses, and can contain any characters. */
	end_of_name = strrchr(stat, ')');
	if (end_of_name == NULL ||
		sscanf(end_of_name + 1, " %c %*d %d %d", &state, &group,
			   &session) != 3 ||
		state == 'Z' || session != MyProcPid)
		return 0;
	return group;
}

/* Kills them once.  Returns whether there were any. */
static bool
try_to_kill_left_processes(void)
{
	DIR		   *dir = AllocateDir("/proc");
	struct dirent *de;
	bool		found = false;

	while ((de = ReadDirExtended(dir, "/proc", LOG)) != NULL)
	{
		pid_t		group;

		if (strspn(de->d_name, "0123456789") != strlen(de->d_name))
			continue;
		group = group_in_session(de->d_name);
		if (group > 0 && group != getpgrp())
		{
			(void) kill(-group, SIGKILL);
			found = true;
		}
	}
	FreeDir(dir);
	return found;
}

/*
 * Kills the processes that commands have left in the background, and waits for
 * them to be gone.  They are in this process's session, which has the ID of
 * this process, so that no others can be meant.  The IDs of their groups cannot
 * be used for that, since other groups may have them by now.
 */
static void
kill_left_processes(void)
{
	if (getsid(0) != MyProcPid)
		return;					/* single-user mode, for example */

	for (int i = 0; i < KILL_WAIT_MS && try_to_kill_left_processes(); i++)
		pg_usleep(1000L);
}

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

/* Removes whatever has this path, if anything has. */
static void
remove_path(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return;
	if (S_ISDIR(st.st_mode))
		(void) rmtree(path, true);
	else if (unlink(path) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
}

/*
 * Called when the session exits, in whichever way it does that itself.  Other
 * sessions still see that it exists, and do not touch its directory.
 */
static void
clean_up(int code, Datum arg)
{
	if (running_leader != 0)
		(void) kill_command();
	if (left_processes)
		kill_left_processes();
	remove_path(directory);
}

/*
 * Returns whether a file of the directory for temporary files is the directory
 * of a session that does not exist any more.
 */
static bool
is_left_directory(const char *name)
{
	const char *number = name + strlen(DIRECTORY_PREFIX);
	int			pid;

	if (strncmp(name, DIRECTORY_PREFIX, strlen(DIRECTORY_PREFIX)) != 0)
		return false;
	if (*number == '\0' || strlen(number) > 9 ||
		strspn(number, "0123456789") != strlen(number))
		return false;
	pid = atoi(number);
	return pid != MyProcPid && BackendPidGetProc(pid) == NULL;
}

/*
 * Removes what killed sessions have left behind.  Each directory is moved into
 * ours before, so that of two sessions that do this, one has the directory.
 */
static void
remove_left_directories(void)
{
	char		path[MAXPGPATH];
	char		moved[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	snprintf(moved, sizeof(moved), "%s/left", directory);
	dir = AllocateDir(TEMP_FILES_DIR);
	while ((de = ReadDir(dir, TEMP_FILES_DIR)) != NULL)
	{
		if (!is_left_directory(de->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", TEMP_FILES_DIR, de->d_name);
		if (rename(path, moved) == 0)
			remove_path(moved);
	}
	FreeDir(dir);
}

/* Makes the session's directory, unless it is there. */
static void
make_directory(void)
{
	bool		is_first = (directory[0] == '\0');

	if (is_first)
	{
		before_shmem_exit(clean_up, (Datum) 0);
		snprintf(directory, sizeof(directory), "%s/%s%d",
				 TEMP_FILES_DIR, DIRECTORY_PREFIX, MyProcPid);

		/* An earlier process with our process ID may have left it. */
		remove_path(directory);
	}

	if (MakePGDirectory(TEMP_FILES_DIR) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						TEMP_FILES_DIR)));

	/* WAL has the data of all users, so even the server's group is kept out. */
	if (mkdir(directory, S_IRWXU) == 0)
		remove_left_directories();
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						directory)));
}

static void
set_path(char *path, const char *name)
{
	snprintf(path, MAXPGPATH, "%s/%s", directory, name);
}

/* Whether this is a regular file, or a symbolic link to one. */
static bool
is_regular_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static void
forget_file(RestoredFile *file)
{
	char		path[MAXPGPATH];

	set_path(path, file->name);
	remove_path(path);
	dlist_delete(&file->node);
	num_files--;
	pfree(file);
}

/* Forgets the files that were used least recently, until no more are left. */
static void
forget_files(int left)
{
	while (num_files > left)
		forget_file(dlist_container(RestoredFile, node,
									dlist_tail_node(&files)));
}

/* The file, if it is kept and nobody has removed it; else NULL. */
static RestoredFile *
find_file(const char *name)
{
	dlist_iter	iter;

	dlist_foreach(iter, &files)
	{
		RestoredFile *file = dlist_container(RestoredFile, node, iter.cur);
		char		path[MAXPGPATH];

		if (strcmp(file->name, name) != 0)
			continue;
		set_path(path, name);
		if (is_regular_file(path))
			return file;
		forget_file(file);
		return NULL;
	}
	return NULL;
}

static RestoredFile *
add_file(const char *name)
{
	RestoredFile *file = MemoryContextAlloc(TopMemoryContext,
											sizeof(RestoredFile));

	strlcpy(file->name, name, sizeof(file->name));
	dlist_push_head(&files, &file->node);
	num_files++;
	return file;
}

/* What another command has fetched may be another server's WAL. */
static void
forget_files_of_other_command(void)
{
	if (files_command != NULL &&
		strcmp(files_command, walredo_restore_command) == 0)
		return;

	forget_files(0);
	if (files_command != NULL)
		pfree(files_command);
	files_command = NULL;
	files_command = MemoryContextStrdup(TopMemoryContext,
										walredo_restore_command);
}

/*
 * A shell reports a signal that ended a command as an exit status, and there is
 * always a shell between us and the command.  Returns the status that says it.
 */
static int
decode_status(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) > 128 &&
		WEXITSTATUS(status) < 128 + NSIG)
		return WEXITSTATUS(status) - 128;
	return status;
}

/* Has the command put the file there.  False if it says that there is none. */
static bool
fetch_file(const char *name, const char *path)
{
	char	   *command = build_command(name, path);
	int			status;

	ereport(DEBUG3,
			(errmsg_internal("executing restore command \"%s\"", command)));
	walredo_progress_set_restoring(true);
	start_command(command);
	status = wait_for_command();
	walredo_progress_set_restoring(false);

	/*
	 * The server's reasons hold here, too: a command that was ended by a
	 * signal, or could not be executed, says nothing of the file.
	 */
	if (wait_result_is_any_signal(status, true))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not restore file \"%s\" from archive: %s",
						name, wait_result_to_str(decode_status(status))),
				 errdetail("The failed restore command was: %s", command)));
	if (status != 0)
	{
		ereport(DEBUG2,
				(errmsg_internal("could not restore file \"%s\" from archive: %s",
								 name, wait_result_to_str(status))));
		pfree(command);
		return false;
	}

	if (!is_regular_file(path))
	{
		struct stat st;
		bool		exists = lstat(path, &st) == 0;

		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not restore file \"%s\" from archive", name),
				 exists ?
				 errdetail("The restore command returned a zero exit status, but \"%s\" is not a regular file.", path) :
				 errdetail("The restore command returned a zero exit status, but there is no file \"%s\".", path),
				 errhint("The restore command was: %s", command)));
	}

	ereport(DEBUG1,
			(errmsg_internal("restored file \"%s\" from archive", name)));
	pfree(command);
	return true;
}

bool
walredo_restore_file(const char *name, char *path)
{
	RestoredFile *file;
	volatile bool found = false;

	if (!walredo_restore_is_enabled())
		elog(ERROR, "there is no restore command");
	if (!IsXLogFileName(name) && !IsTLHistoryFileName(name))
		elog(ERROR, "invalid name of a WAL file: \"%s\"", name);

	forget_files_of_other_command();
	file = find_file(name);
	if (file != NULL)
	{
		dlist_move_head(&files, &file->node);
		set_path(path, name);
		return true;
	}

	/* There is room for one more file before it comes. */
	make_directory();
	forget_files(walredo_restore_segments - 1);
	set_path(path, name);
	remove_path(path);

	file = add_file(name);
	PG_TRY();
	{
		found = fetch_file(name, path);
	}
	PG_CATCH();
	{
		if (running_leader != 0)
			(void) kill_command();
		forget_file(file);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (!found)
		forget_file(file);
	return found;
}
