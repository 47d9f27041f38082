/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  Times a wal-redo child without a server around it.
 *
 * The child is launched by the pool's own code (src/pool/launch.c is linked
 * in), so it is the same as a server's child, with the same settings.  The same
 * requests are sent to the floor program, in the same run and by the same code.
 * What matters is the ratio of the two times, since times alone differ from
 * machine to machine and from minute to minute.
 *
 *	driver --data DIR --postgres FILE --floor FILE --workloads DIR
 *		[--session own] COMMAND
 *
 * DIR is the data directory of a server, which may be running.  All other paths
 * must be absolute.  With --session own the driver enters another session than
 * the processes that it has started, as a server's backends are not in the
 * session of the worker: some kernels switch more slowly between processes of
 * different sessions (autogroups).
 *
 * Commands print lines whose columns are separated by tabs, with times in
 * microseconds:
 *
 *	check				replays each workload, and compares the page with the
 *						one that the server wrote, both masked
 *	roundtrip R N [W]	R rounds of N requests, one at a time, the child on the
 *						same core: workload, round, floor, child
 *	apart R N [W]		as above, the child on another core
 *	inflight R N		as above, with up to 8 requests sent and not answered
 *						yet, the child on another core: wall time of a request
 *	launch N			N times the start of a template, and the launch of a
 *						child of it: number, time from the order to the answer
 *						to a ping, time until the template was ready, and the
 *						time that "postgres --version" took right after
 *	memory				private kB of a child that has replayed everything, and
 *						of a template without children
 *	clogloop N			a plain loop that sets the status of 1,000 transactions
 *						on a CLOG page, N times: time of one transaction
 *	copyloop N			copies 32 MB there and back, N times: time of one
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * bench/driver.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "access/rmgr.h"
#include "pool/launch.h"
#include "proto/proto.h"
#include "storage/bufpage.h"

#define REQUESTS_IN_FLIGHT	8

/* Prevents the compiler from moving or dropping accesses to memory at p. */
#define USE_MEMORY(p)	__asm__ __volatile__("" : : "r"(p) : "memory")

/* One request, as it goes over the wire, and the page that must come of it. */
typedef struct Workload
{
	const char *name;
	uint8		rmid;			/* resource manager that masks the page */
	char	   *request;
	size_t		size;
	uint32		blkno;
	char	   *expected;		/* a page, or NULL for a ping */
} Workload;

static Workload workloads[] = {
	{"ping", 0, NULL, 0, 0, NULL},
	{"short", RM_HEAP_ID, NULL, 0, 0, NULL},
	{"btree", RM_BTREE_ID, NULL, 0, 0, NULL},
	{"medium", RM_HEAP_ID, NULL, 0, 0, NULL}
};

/* The variables of a server that launch.c uses. */
char		my_exec_path[MAXPGPATH];
int			MyProcPid;
char	   *Dynamic_library_path = "$libdir";
bool		wal_log_hints = false;
char	   *cluster_name = "";
int			wal_segment_size = DEFAULT_XLOG_SEG_SIZE;

static WalredoTemplate template;
static const char *floor_program;
static bool own_session;
static int	cores[2];
static int	num_cores;

static void die(const char *format,...) pg_attribute_printf(1, 2);
static void process_failed(const WalredoChild *process)
			__attribute__((noreturn));

static void
die(const char *format,...)
{
	va_list		args;

	fprintf(stderr, "driver: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

/* Microseconds since some time in the past. */
static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, int n)
{
	qsort(values, n, sizeof(double), compare_doubles);
	return n % 2 == 1 ? values[n / 2] :
		(values[n / 2 - 1] + values[n / 2]) / 2;
}

static void
find_cores(void)
{
	cpu_set_t	set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		die("could not ask for the cores: %s", strerror(errno));
	for (int i = 0; i < CPU_SETSIZE && num_cores < lengthof(cores); i++)
	{
		if (CPU_ISSET(i, &set))
			cores[num_cores++] = i;
	}
}

static void
pin(pid_t pid, int core)
{
	cpu_set_t	set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) != 0)
		die("could not pin a process to core %d: %s", core, strerror(errno));
}

/* ----------------------------------------------------------------
 *		Workloads
 * ----------------------------------------------------------------
 */

static char *
read_file(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	struct stat st;
	char	   *data;

	if (file == NULL || fstat(fileno(file), &st) != 0)
		die("could not open %s: %s", path, strerror(errno));
	data = malloc(st.st_size);
	if (data == NULL || fread(data, 1, st.st_size, file) != st.st_size)
		die("could not read %s", path);
	fclose(file);
	*size = st.st_size;
	return data;
}

/*
 * Writes a message at p, and returns the byte after it.  The fields that its
 * payload has are those of message, and size bytes from body follow.
 */
static char *
put_message(char *p, WalredoMessageType type, WalredoMessage *message,
			const char *body, size_t size)
{
	message->type = type;
	message->body_size = size;
	p = walredo_put_message_head(p, message);
	if (size > 0)
		memcpy(p, body, size);
	return p + size;
}

/*
 * Reads NAME.bin (bench/README.md has its format), and makes a request of it.
 */
static void
load_workload(Workload *workload, const char *directory)
{
	char		path[MAXPGPATH];
	WalredoMessage message = {0};
	uint32		nrecords;
	size_t		size;
	char	   *data;
	char	   *at;
	char	   *p;

#define TAKE(field) (memcpy(&(field), at, sizeof(field)), at += sizeof(field))

	snprintf(path, sizeof(path), "%s/%s.bin", directory, workload->name);
	at = data = read_file(path, &size);

	TAKE(message.tag.spcOid);
	TAKE(message.tag.dbOid);
	TAKE(message.tag.relNumber);
	TAKE(message.tag.forknum);
	TAKE(message.tag.blkno);
	workload->blkno = message.tag.blkno;

	/* The request is longer than the file by the messages' headers and tags. */
	p = workload->request = malloc(4 * size + BLCKSZ);
	p = put_message(p, WALREDO_MSG_BEGIN, &message, NULL, 0);
	if (*at++ != 0)
	{
		p = put_message(p, WALREDO_MSG_PUSH, &message, at, BLCKSZ);
		at += BLCKSZ;
	}
	TAKE(nrecords);
	for (uint32 i = 0; i < nrecords; i++)
	{
		uint32		length;

		TAKE(message.lsn);
		TAKE(length);
		p = put_message(p, WALREDO_MSG_APPLY, &message, at, length);
		at += length;
	}
	if (at != data + size)
		die("%s is not a workload", path);
	p = put_message(p, WALREDO_MSG_GET, &message, NULL, 0);
	workload->size = p - workload->request;
	free(data);
#undef TAKE

	snprintf(path, sizeof(path), "%s/%s.expected.page", directory,
			 workload->name);
	workload->expected = read_file(path, &size);
	if (size != BLCKSZ)
		die("%s is not a page", path);
}

static void
load_workloads(const char *directory)
{
	for (int i = 0; i < lengthof(workloads); i++)
	{
		Workload   *workload = &workloads[i];

		if (strcmp(workload->name, "ping") != 0)
			load_workload(workload, directory);
		else
		{
			workload->size = WALREDO_WIRE_HEADER_SIZE;
			workload->request = malloc(workload->size);
			(void) walredo_put_header(workload->request, WALREDO_MSG_PING, 0);
		}
	}
}

/* ----------------------------------------------------------------
 *		Processes
 * ----------------------------------------------------------------
 */

static void
set_blocking(const WalredoChild *process, bool blocking)
{
	int			flags = blocking ? 0 : O_NONBLOCK;

	if (fcntl(process->in_fd, F_SETFL, flags) != 0 ||
		fcntl(process->out_fd, F_SETFL, flags) != 0)
		die("could not set the mode of a pipe: %s", strerror(errno));
}

/*
 * Reports that a process did not answer, with what it wrote to standard error.
 */
static void
process_failed(const WalredoChild *process)
{
	char		text[4096];
	ssize_t		n = 0;

	if (process->err_fd >= 0)
		n = read(process->err_fd, text, sizeof(text) - 1);
	text[Max(n, 0)] = '\0';
	die("no answer from process %d: %s", (int) process->pid, text);
	exit(1);
}

/* Sends one request, and waits for the answer. */
static void
exchange(const WalredoChild *process, const char *request, size_t size,
		 char *page)
{
	if (!walredo_write(process->in_fd, request, size) ||
		walredo_read(process->out_fd, page, BLCKSZ, BLCKSZ) != BLCKSZ)
		process_failed(process);
}

/* Starts a template, and waits until it is ready. */
static void
start_template(void)
{
	char		error[1024];

	if (!walredo_template_launch(&template, error, sizeof(error)))
		die("%s", error);
	while (template.state != TEMPLATE_READY)
	{
		struct pollfd pollfd = {template.order_fd, POLLIN, 0};

		(void) poll(&pollfd, 1, -1);
		if (!walredo_template_read_reply(&template))
			die("the template has not started");
	}
}

static void
stop_template(void)
{
	bool		was_killed;

	(void) walredo_template_kill(&template, &was_killed);
	close(template.err_fd);
}

/* Launches a child, and waits until it answers a ping. */
static void
start_child(WalredoChild *child)
{
	char		page[BLCKSZ];
	char		error[1024];

	if (template.state == TEMPLATE_NONE)
		start_template();
	if (!walredo_child_launch(&template, child, "walredo child",
							  error, sizeof(error)))
		die("%s", error);
	set_blocking(child, true);
	exchange(child, workloads[0].request, workloads[0].size, page);
}

static void
start_floor(WalredoChild *process)
{
	int			in[2];
	int			out[2];

	memset(process, 0, sizeof(*process));
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		die("could not make pipes: %s", strerror(errno));
	process->pid = fork();
	if (process->pid == 0)
	{
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(floor_program, floor_program, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	process->in_fd = in[1];
	process->out_fd = out[0];
	process->err_fd = -1;
}

static void
stop(WalredoChild *process)
{
	/* Its process ID may be another process's if it has been reaped. */
	if (waitpid(process->pid, NULL, WNOHANG) == 0)
	{
		kill(process->pid, SIGKILL);
		waitpid(process->pid, NULL, 0);
	}
	close(process->in_fd);
	close(process->out_fd);
	if (process->err_fd >= 0)
		close(process->err_fd);
}

/* ----------------------------------------------------------------
 *		Commands
 * ----------------------------------------------------------------
 */

static void
mask(const WalredoChild *child, const Workload *workload, char *page)
{
	WalredoMessage message = {
		.rmid = workload->rmid,
		.blkno = workload->blkno
	};
	char		request[WALREDO_WIRE_MAX_HEAD_SIZE + BLCKSZ];
	char	   *end;

	end = put_message(request, WALREDO_MSG_MASK, &message, page, BLCKSZ);
	exchange(child, request, end - request, page);
}

static void
do_check(void)
{
	WalredoChild child;
	char		page[BLCKSZ];
	char		expected[BLCKSZ];

	start_child(&child);
	for (int i = 0; i < lengthof(workloads); i++)
	{
		Workload   *workload = &workloads[i];

		if (workload->expected == NULL)
			continue;

		/*
		 * Do it more than once, since nothing of an earlier request may be
		 * seen in a later one.
		 */
		for (int j = 0; j < 3; j++)
		{
			exchange(&child, workload->request, workload->size, page);
			mask(&child, workload, page);
			memcpy(expected, workload->expected, BLCKSZ);
			mask(&child, workload, expected);
			if (memcmp(page, expected, BLCKSZ) != 0)
				die("%s: the page differs from the server's own",
					workload->name);
		}
		printf("%s\tok\n", workload->name);
	}
	stop(&child);
}

/* The median time of n requests, one at a time. */
static double
time_requests(const WalredoChild *process, const Workload *workload, int n)
{
	double	   *times = malloc(n * sizeof(double));
	double		result;
	char		page[BLCKSZ];

	for (int i = 0; i < n; i++)
	{
		double		start = now();

		exchange(process, workload->request, workload->size, page);
		times[i] = now() - start;
	}
	result = median(times, n);
	free(times);
	return result;
}

/* Wall time of a request while several are on their way. */
static double
time_in_flight(const WalredoChild *process, const Workload *workload, int n)
{
	size_t		to_send = (size_t) n * workload->size;
	size_t		to_read = (size_t) n * BLCKSZ;
	size_t		sent = 0;
	size_t		received = 0;
	double		start = now();
	char		pages[REQUESTS_IN_FLIGHT * BLCKSZ];

	while (received < to_read)
	{
		struct pollfd fds[2] = {
			{process->in_fd, POLLOUT, 0},
			{process->out_fd, POLLIN, 0}
		};
		size_t		may_send = Min(to_send,
								   (received / BLCKSZ + REQUESTS_IN_FLIGHT) *
								   workload->size);
		bool		idle = true;
		ssize_t		rc;

		while (sent < may_send)
		{
			size_t		offset = sent % workload->size;

			rc = write(process->in_fd, workload->request + offset,
					   workload->size - offset);
			if (rc < 0)
			{
				if (errno != EAGAIN)
					process_failed(process);
				break;
			}
			sent += rc;
			idle = false;
		}
		rc = read(process->out_fd, pages, sizeof(pages));
		if (rc == 0 || (rc < 0 && errno != EAGAIN))
			process_failed(process);
		if (rc > 0)
		{
			received += rc;
			idle = false;
		}
		if (idle)
		{
			if (sent == may_send)
				fds[0].fd = -1;
			(void) poll(fds, lengthof(fds), -1);
		}
	}
	return (now() - start) / n;
}

static void
compare_with_floor(int rounds, int n, const char *only, bool apart,
				   bool in_flight)
{
	WalredoChild child;
	WalredoChild floor_process;

	pin(0, cores[0]);
	start_child(&child);
	start_floor(&floor_process);
	if (own_session && setsid() < 0)
		die("could not begin a session: %s", strerror(errno));
	if (apart)
	{
		pin(child.pid, cores[num_cores - 1]);
		pin(floor_process.pid, cores[num_cores - 1]);
	}
	if (in_flight)
	{
		set_blocking(&child, false);
		set_blocking(&floor_process, false);
	}

	for (int i = 0; i < lengthof(workloads); i++)
	{
		Workload   *workload = &workloads[i];

		if (only != NULL && strcmp(only, workload->name) != 0)
			continue;
		for (int round = 1; round <= rounds; round++)
		{
			double		floor_time;
			double		child_time;

			if (in_flight)
			{
				floor_time = time_in_flight(&floor_process, workload, n);
				child_time = time_in_flight(&child, workload, n);
			}
			else
			{
				floor_time = time_requests(&floor_process, workload, n);
				child_time = time_requests(&child, workload, n);
			}
			printf("%s\t%d\t%.3f\t%.3f\n", workload->name, round, floor_time,
				   child_time);
		}
	}
	stop(&floor_process);
	stop(&child);
}

/* How long the server's program takes to be loaded and to do nothing. */
static double
time_empty_run(void)
{
	double		start = now();
	pid_t		pid = fork();

	if (pid == 0)
	{
		int			fd = open("/dev/null", O_WRONLY);

		dup2(fd, STDOUT_FILENO);
		execl(my_exec_path, my_exec_path, "--version", NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	return now() - start;
}

static void
do_launch(int n)
{
	for (int i = 1; i <= n; i++)
	{
		WalredoChild child;
		double		start = now();
		double		ready;
		double		answered;

		start_template();
		ready = now();
		start_child(&child);
		answered = now();
		stop(&child);
		stop_template();
		printf("%d\t%.0f\t%.0f\t%.0f\n", i, answered - ready, ready - start,
			   time_empty_run());
	}
}

/* Private memory of a process, in kB. */
static int
private_memory(pid_t pid)
{
	char		path[MAXPGPATH];
	char		line[1024];
	FILE	   *file;
	int			total = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int) pid);
	file = fopen(path, "r");
	if (file == NULL)
		die("could not open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), file) != NULL)
	{
		int			kilobytes;

		if (sscanf(line, "Private_Clean: %d", &kilobytes) == 1 ||
			sscanf(line, "Private_Dirty: %d", &kilobytes) == 1)
			total += kilobytes;
	}
	fclose(file);
	return total;
}

static void
do_memory(void)
{
	WalredoChild child;
	char		page[BLCKSZ];
	int			alone;

	start_template();
	alone = private_memory(template.pid);
	start_child(&child);
	for (int i = 0; i < lengthof(workloads); i++)
	{
		for (int j = 0; j < 100; j++)
			exchange(&child, workloads[i].request, workloads[i].size, page);
	}
	printf("%d\t%d\n", private_memory(child.pid), alone);
	stop(&child);
}

static void
do_clog_loop(int n)
{
	static unsigned char page[BLCKSZ];
	static uint32 xids[1000];
	double		start;

	for (int i = 0; i < lengthof(xids); i++)
		xids[i] = 731 + 7 * i;

	start = now();
	for (int j = 0; j < n; j++)
	{
		for (int i = 0; i < lengthof(xids); i++)
		{
			uint32		entry = xids[i] % (BLCKSZ * 4);
			int			shift = entry % 4 * 2;

			page[entry / 4] = (page[entry / 4] & ~(3 << shift)) | (1 << shift);
		}
		USE_MEMORY(page);
	}
	printf("%.6f\n", (now() - start) / n / lengthof(xids));
}

/* Memory that no cache of a core holds is written, and read back. */
static void
do_copy_loop(int n)
{
	const Size	size = 32 * 1024 * 1024;
	char	   *from = malloc(size);
	char	   *to = malloc(size);
	double		start;

	if (from == NULL || to == NULL)
		die("there is no memory");
	memset(from, 1, size);
	memset(to, 2, size);
	start = now();
	for (int i = 0; i < n; i++)
	{
		memcpy(to, from, size);
		USE_MEMORY(to);
		memcpy(from, to, size);
		USE_MEMORY(from);
	}
	printf("%.6f\n", (now() - start) / n);
	free(from);
	free(to);
}

static int
number(const char *text)
{
	int			value = text ? atoi(text) : 0;

	if (value <= 0)
		die("a positive number is missing");
	return value;
}

int
main(int argc, char **argv)
{
	const char *data_directory = NULL;
	const char *directory = NULL;
	const char *command;

	argv++;
	while (argv[0] != NULL && argv[1] != NULL && strncmp(argv[0], "--", 2) == 0)
	{
		if (strcmp(argv[0], "--data") == 0)
			data_directory = argv[1];
		else if (strcmp(argv[0], "--postgres") == 0)
			strlcpy(my_exec_path, argv[1], sizeof(my_exec_path));
		else if (strcmp(argv[0], "--floor") == 0)
			floor_program = argv[1];
		else if (strcmp(argv[0], "--workloads") == 0)
			directory = argv[1];
		else if (strcmp(argv[0], "--session") == 0)
			own_session = (strcmp(argv[1], "own") == 0);
		else
			die("unknown option %s", argv[0]);
		argv += 2;
	}
	command = *argv;
	if (!data_directory || my_exec_path[0] == '\0' || !floor_program ||
		!directory || !command)
		die("an option or the command is missing");

	MyProcPid = getpid();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (chdir(data_directory) != 0)
		die("could not go to %s: %s", data_directory, strerror(errno));
	find_cores();
	load_workloads(directory);

	if (strcmp(command, "check") == 0)
		do_check();
	else if (strcmp(command, "roundtrip") == 0)
		compare_with_floor(number(argv[1]), number(argv[2]), argv[3], false,
						   false);
	else if (strcmp(command, "apart") == 0)
	{
		if (num_cores > 1)
			compare_with_floor(number(argv[1]), number(argv[2]), argv[3], true,
							   false);
	}
	else if (strcmp(command, "inflight") == 0)
	{
		if (num_cores > 1)
			compare_with_floor(number(argv[1]), number(argv[2]), NULL, true,
							   true);
	}
	else if (strcmp(command, "launch") == 0)
		do_launch(number(argv[1]));
	else if (strcmp(command, "memory") == 0)
		do_memory();
	else if (strcmp(command, "copyloop") == 0)
		do_copy_loop(number(argv[1]));
	else if (strcmp(command, "clogloop") == 0)
		do_clog_loop(number(argv[1]));
	else
		die("unknown command %s", command);
	if (template.pid != 0)
		stop_template();
	return 0;
}
