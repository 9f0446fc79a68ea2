/*
 * relay carries the FUSE messages of one share between the kernel and the host: what
 * the kernel asks goes to the stream, what the host answers goes to the kernel. It
 * makes nothing of the messages but the few that are for itself; docs/wire.md, "Shares",
 * has the protocol.
 *
 * It is started with these descriptors:
 *
 *	3  /dev/fuse, mounted
 *	4  the stream to the host
 *	5  the root of a mount of its own of the share, opened with O_PATH
 *	6  a pipe: one byte is written when the kernel and the host have agreed (INIT);
 *	   its end tells that the relay carries no more
 *
 * Five threads, none of which allocates:
 *
 *	requests  reads the kernel's requests and writes them to the stream
 *	replies   reads the stream and writes answers to the kernel
 *	notifier  writes notifications to the kernel, which may block there until requests
 *	          in flight are answered
 *	injector  makes system calls on the share, which are requests themselves
 *	main      waits for SIGTERM: then the injector lets go of the share's mount, and the
 *	          relay ends when the kernel has written back what it had and unmounted it
 *
 * Killed at the wrong moment the notifier and the injector stay in the kernel until the
 * connection is aborted, which is for the one to do who holds the other end of the pipe.
 * So that the pipe ends in any case, these two threads have tables of descriptors of
 * their own, without it.
 *
 * The host is trusted with the content of messages, not with their form: every length is
 * checked, and what is out of form ends the relay.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* renameat alone */
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little endian");

enum { FUSE = 3, STREAM = 4, ROOT = 5, LIFE = 6 };

/* How the relay ends. The agent has words for these. */
enum { UNMOUNTED = 0, STREAM_ENDED = 1, BAD_MESSAGE = 2, SYSTEM_FAILED = 3 };

/* linux/fuse.h: what the kernel asks begins so, and what it is told. */
struct request {
	uint32_t len, opcode;
	uint64_t unique, node;
	uint32_t uid, gid, pid, extensions;
};
struct reply {
	uint32_t len;
	int32_t code; /* -errno, or of a message with unique 0: what it is */
	uint64_t unique;
};
_Static_assert(sizeof(struct request) == 40 && sizeof(struct reply) == 16, "headers of linux/fuse.h");

/* Opcodes of the kernel that the relay may answer. */
enum { GETXATTR = 22, FLUSH = 25, POLL = 40, SETLK = 32, SETLKW = 33 };

/* Messages of the relay's own, see docs/wire.md. */
enum { OWN = 0x10000, HELLO = OWN, OPTIONS, NOTIFIED, INJECT, INJECTED, PLAIN };
enum { VERSION = 2 };
enum { OPTION_FLUSH = 1, OPTION_CAPABILITY = 2 };

enum {
	MAX_MESSAGE = (1 << 20) + (64 << 10), /* 1 MiB of data and what goes around it */
	READ_AHEAD = 64 << 10,                /* how much is read beyond a message */
	MAX_NOTIFY = 512,                     /* a header, ids and a name of 255 bytes */
	MAX_NOTIFIES = 64,
	MAX_PATH = 4095,
	STACK = 48 << 10,
};

static _Atomic uint32_t options;
static pthread_mutex_t stream_lock = PTHREAD_MUTEX_INITIALIZER;

static void quit(int how) __attribute__((noreturn));
static void quit(int how)
{
	_exit(how); /* ends all threads */
}

/* send_message writes a whole message to the host. */
static void send_message(const void *message, size_t len)
{
	const char *p = message;

	pthread_mutex_lock(&stream_lock);
	while (len > 0) {
		ssize_t n = write(STREAM, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			quit(STREAM_ENDED);
		p += n;
		len -= (size_t)n;
	}
	pthread_mutex_unlock(&stream_lock);
}

/* own makes the header of a message of the relay's own. */
static struct request own(uint32_t opcode, size_t len)
{
	return (struct request){.len = (uint32_t)len, .opcode = opcode};
}

/* tell_kernel writes a message to the kernel and returns 0 or an errno. */
static int tell_kernel(const void *message, size_t len)
{
	for (;;) {
		if (write(FUSE, message, len) >= 0)
			return 0;
		if (errno != EINTR && errno != EAGAIN)
			return errno;
	}
}

/* answer ends a request with an error, 0 for none. One that is gone is as good. */
static void answer(uint64_t unique, int error)
{
	struct reply r = {.len = sizeof r, .code = -error, .unique = unique};

	tell_kernel(&r, sizeof r);
}

/*
 * Files of which the host has said that they have no capabilities, each at its place by
 * its number. A newer one takes the place of an older one, which is asked of the host then.
 */
enum { PLAINS = 512, PLAIN_FOR = 1000 /* milliseconds */ };
static struct {
	_Atomic uint64_t node; /* 0: none. The last to be written, the first to be cleared */
	_Atomic uint32_t until;
} plains[PLAINS];

static uint32_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)t.tv_sec * 1000 + (uint32_t)(t.tv_nsec / 1000000);
}

/* put_plain notes a file, or, for 0, forgets all. The replies thread calls it. */
static void put_plain(uint64_t node)
{
	if (node == 0) {
		for (unsigned i = 0; i < PLAINS; i++)
			atomic_store(&plains[i].node, 0);
		return;
	}
	atomic_store(&plains[node % PLAINS].node, 0);
	atomic_store(&plains[node % PLAINS].until, milliseconds() + PLAIN_FOR);
	atomic_store(&plains[node % PLAINS].node, node);
}

/* take_plain says, once, whether a file was noted. The requests thread calls it. */
static bool take_plain(uint64_t node)
{
	_Atomic uint64_t *at = &plains[node % PLAINS].node;
	uint32_t until;

	if (atomic_load(at) != node)
		return false;
	until = atomic_load(&plains[node % PLAINS].until);
	return atomic_compare_exchange_strong(at, &node, 0) && (int32_t)(until - milliseconds()) > 0;
}

static _Alignas(8) char request_buffer[MAX_MESSAGE];

/* answered says whether the relay itself answers a request. */
static bool answered(const struct request *r)
{
	static const char capability[] = "security.capability";
	static bool locks; /* some file may have locks, which FLUSH drops */
	const char *body = (const char *)r + sizeof *r;
	size_t len = r->len - sizeof *r;
	uint32_t set = atomic_load_explicit(&options, memory_order_relaxed), size;

	switch (r->opcode) {
	case SETLK:
	case SETLKW:
		locks = true;
		return false;
	case POLL:
		/*
		 * No server has it, and the kernel asks once. On a host where the server's own
		 * process uses the mount it may wait for the answer with the lock that the
		 * server's runtime needs to go on.
		 */
		answer(r->unique, ENOSYS);
		return true;
	case FLUSH:
		if (!(set & OPTION_FLUSH) || locks)
			return false;
		answer(r->unique, 0);
		return true;
	case GETXATTR: /* two words, then the name with its NUL */
		if (len != 8 + sizeof capability || memcmp(body + 8, capability, sizeof capability) != 0)
			return false;
		memcpy(&size, body, sizeof size);
		/* One without room for a value asks whether there is one: the kernel, mostly. */
		if (!(set & OPTION_CAPABILITY) && (size != 0 || !take_plain(r->node)))
			return false;
		answer(r->unique, ENODATA);
		return true;
	}
	return false;
}

static void *requests(void *arg)
{
	struct request *r = (void *)request_buffer;

	(void)arg;
	for (;;) {
		ssize_t n = read(FUSE, request_buffer, sizeof request_buffer);
		if (n < 0) {
			/* ENOENT: who asked was interrupted meanwhile. */
			if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
				continue;
			quit(errno == ENODEV || errno == ECONNABORTED ? UNMOUNTED : SYSTEM_FAILED);
		}
		if ((size_t)n < sizeof *r || r->len != (size_t)n)
			quit(SYSTEM_FAILED);
		if (!answered(r))
			send_message(r, r->len);
	}
}

static struct {
	_Alignas(8) char message[MAX_NOTIFY];
	size_t len;
} notifies[MAX_NOTIFIES]; /* a ring */
static unsigned put_notifies;           /* of the replies thread */
static _Atomic unsigned taken_notifies; /* of the notifier */
static sem_t notify_ready;

/* put_notify hands a notification on, to be carried out in order. */
static void put_notify(const void *message, size_t len)
{
	unsigned at = put_notifies % MAX_NOTIFIES;

	if (len > MAX_NOTIFY || put_notifies - atomic_load(&taken_notifies) == MAX_NOTIFIES)
		quit(BAD_MESSAGE);
	memcpy(notifies[at].message, message, len);
	notifies[at].len = len;
	put_notifies++;
	sem_post(&notify_ready);
}

/* part gives the thread a table of descriptors of its own, without some. */
static void part(int first, int second)
{
	if (unshare(CLONE_FILES) != 0)
		quit(SYSTEM_FAILED);
	close(first);
	close(second);
}

/* wait_for waits for a semaphore, signals notwithstanding. */
static void wait_for(sem_t *s)
{
	while (sem_wait(s) != 0)
		;
}

static sem_t parted; /* posted by each thread that has parted */

static void *notifier(void *arg)
{
	(void)arg;
	part(LIFE, ROOT);
	sem_post(&parted);
	for (;;) {
		struct {
			struct request head;
			uint32_t error;
		} done = {.head = own(NOTIFIED, 44)};

		wait_for(&notify_ready);
		unsigned at = atomic_load(&taken_notifies) % MAX_NOTIFIES;
		done.error = (uint32_t)tell_kernel(notifies[at].message, notifies[at].len);
		/* The slot is free before the host hears of it. */
		atomic_fetch_add(&taken_notifies, 1);
		send_message(&done, 44);
	}
	return NULL;
}

/* What follows the header of INJECT, before the paths. */
struct injection {
	uint64_t id;
	uint32_t kind, mode, rdev;
	uint16_t path_len, second_len;
};
_Static_assert(sizeof(struct injection) == 24, "INJECT of docs/wire.md");

enum { MKNOD = 1, MKDIR, SYMLINK, MODIFY, TRUNCATE, CHMOD, UNLINK, RMDIR, RENAME, SHRINK, CLOSE, TOUCH };

static struct {
	struct injection what;
	char path[MAX_PATH + 1], second[MAX_PATH + 1];
} job;
static atomic_bool job_busy, job_last;
static sem_t job_ready;
static _Atomic pid_t injector_id;

/* put_injection hands an injection on; there is one at a time. */
static void put_injection(const char *body, size_t len)
{
	if (len < sizeof job.what || atomic_load(&job_busy))
		quit(BAD_MESSAGE);
	memcpy(&job.what, body, sizeof job.what);
	size_t first = job.what.path_len, second = job.what.second_len;
	if (first > MAX_PATH || second > MAX_PATH || len != sizeof job.what + first + second)
		quit(BAD_MESSAGE);
	body += sizeof job.what;
	memcpy(job.path, body, first);
	memcpy(job.second, body + first, second);
	job.path[first] = job.second[second] = '\0';
	if (memchr(job.path, '\0', first) || memchr(job.second, '\0', second))
		quit(BAD_MESSAGE);
	atomic_store(&job_busy, true);
	sem_post(&job_ready);
}

/* open_below opens a path below the root without following links. */
static int open_below(const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	return (int)syscall(SYS_openat2, ROOT, path, &how, sizeof how);
}

/*
 * parent_of opens the folder that a path is in and says what it is called there. It cuts
 * the path in two. The folder of a path of one name is the root itself.
 */
static int parent_of(char *path, const char **name)
{
	char *slash = strrchr(path, '/');

	*name = slash ? slash + 1 : path;
	if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
		errno = EINVAL;
		return -1;
	}
	if (!slash)
		return ROOT;
	*slash = '\0';
	return open_below(path, O_PATH | O_DIRECTORY);
}

static void let_go(int fd)
{
	int saved = errno;

	if (fd >= 0 && fd != ROOT)
		close(fd);
	errno = saved;
}

/*
 * with_link calls on a file by a path of its own, the one form that truncate and chmod
 * have for what they must not open. An empty path is the root, a share's one file.
 */
static int with_link(const char *path, int (*call)(const char *link, uint32_t mode), uint32_t mode)
{
	char link[] = "/proc/thread-self/fd/..........";
	char *end = link + sizeof link - 1, *at = end;
	int fd = *path ? open_below(path, O_PATH | O_NOFOLLOW) : ROOT;
	int err;

	if (fd < 0)
		return -1;
	unsigned n = (unsigned)fd;
	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	memmove(link + sizeof "/proc/thread-self/fd/" - 1, at, (size_t)(end - at) + 1);
	err = call(link, mode);
	let_go(fd);
	return err;
}

static int do_truncate(const char *link, uint32_t mode)
{
	(void)mode;
	return truncate(link, 0);
}

static int do_chmod(const char *link, uint32_t mode) { return chmod(link, mode & 07777); }

/* do_modify opens a file for writing and closes it; with how 1 it writes in between. */
static int do_modify(const char *link, uint32_t how)
{
	int fd = open(link, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return -1;
	if (how == 1)
		n = pwrite(fd, "", 1, 0);
	let_go(fd);
	return n < 0 ? -1 : 0;
}

/* on_name makes the calls that take a name in a folder. */
static int on_name(const struct injection *w, char *path, char *second_path)
{
	const char *name, *second;
	int dir = parent_of(path, &name), second_dir, err = -1;

	if (dir < 0)
		return -1;
	switch (w->kind) {
	case MKNOD:
		err = mknodat(dir, name, w->mode, w->rdev);
		break;
	case MKDIR:
		err = mkdirat(dir, name, w->mode & 07777);
		break;
	case SYMLINK:
		err = symlinkat("x", dir, name);
		break;
	case UNLINK:
		err = unlinkat(dir, name, 0);
		break;
	case RMDIR:
		err = unlinkat(dir, name, AT_REMOVEDIR);
		break;
	case TOUCH:
		err = utimensat(dir, name, NULL, AT_SYMLINK_NOFOLLOW);
		break;
	case RENAME:
		second_dir = parent_of(second_path, &second);
		if (second_dir >= 0)
			err = renameat(dir, name, second_dir, second);
		let_go(second_dir);
		break;
	default:
		errno = EINVAL;
	}
	let_go(dir);
	return err;
}

/*
 * shrink has the kernel forget all names of the share that nothing uses. It does so
 * when a file system is reconfigured, whatever is changed: nothing here. What is in use
 * stays, and with it what is mounted below.
 */
static int shrink(void)
{
	int fd = (int)syscall(SYS_fspick, ROOT, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH), err;

	if (fd < 0)
		return -1;
	err = (int)syscall(SYS_fsconfig, fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
	let_go(fd);
	return err;
}

/* inject makes the system calls of an injection and returns 0 or an errno. */
static int inject(void)
{
	int err;

	switch (job.what.kind) {
	case MODIFY:
		err = with_link(job.path, do_modify, 1);
		break;
	case CLOSE:
		err = with_link(job.path, do_modify, 0);
		break;
	case TRUNCATE:
		err = with_link(job.path, do_truncate, 0);
		break;
	case CHMOD:
		err = with_link(job.path, do_chmod, job.what.mode);
		break;
	case SHRINK:
		err = shrink();
		break;
	default:
		err = on_name(&job.what, job.path, job.second);
	}
	return err == 0 ? 0 : errno;
}

static void *injector(void *arg)
{
	(void)arg;
	part(LIFE, FUSE);
	atomic_store(&injector_id, (pid_t)syscall(SYS_gettid));
	sem_post(&parted);
	for (;;) {
		struct {
			struct request head;
			uint64_t id;
			uint32_t error;
		} done = {.head = own(INJECTED, 52)};

		wait_for(&job_ready);
		if (atomic_load(&job_last)) {
			close(ROOT); /* returns when the kernel has written back and unmounted */
			return NULL;
		}
		done.error = (uint32_t)inject();
		done.id = job.what.id;
		atomic_store(&job_busy, false);
		send_message(&done, 52);
	}
}

static _Alignas(8) char reply_buffer[MAX_MESSAGE + READ_AHEAD];

/* tell_life says once that the kernel and the host have agreed. */
static void tell_life(const struct reply *r)
{
	static bool told;

	if (told)
		return;
	if (r->code != 0)
		quit(BAD_MESSAGE); /* the host refuses INIT, and the kernel every request */
	told = true;
	while (write(LIFE, "", 1) < 0 && errno == EINTR)
		;
}

/* take acts on one message of the host. */
static void take(const char *message, size_t len)
{
	struct reply r;
	uint64_t node;
	uint32_t set;
	int err;

	memcpy(&r, message, sizeof r);
	if (r.unique != 0) {
		err = tell_kernel(message, len);
		if (err == ENODEV)
			quit(UNMOUNTED);
		/*
		 * ENOENT: who asked no longer waits. All else is an answer that the kernel
		 * does not take; whoever asked must not wait for ever.
		 */
		if (err != 0 && err != ENOENT)
			answer(r.unique, EIO);
		if (err == 0)
			tell_life(&r);
		return;
	}
	switch ((uint32_t)r.code) {
	case OPTIONS:
		if (len != sizeof r + sizeof set)
			quit(BAD_MESSAGE);
		memcpy(&set, message + sizeof r, sizeof set);
		atomic_store_explicit(&options, set, memory_order_relaxed);
		return;
	case PLAIN:
		if (len != sizeof r + sizeof node)
			quit(BAD_MESSAGE);
		memcpy(&node, message + sizeof r, sizeof node);
		put_plain(node);
		return;
	case INJECT:
		put_injection(message + sizeof r, len - sizeof r);
		return;
	}
	if (r.code <= 0 || r.code >= OWN)
		quit(BAD_MESSAGE);
	put_notify(message, len);
}

static void *replies(void *arg)
{
	size_t have = 0; /* bytes at the start of the buffer */

	(void)arg;
	for (;;) {
		size_t want = sizeof(struct reply), at = 0;

		while (have - at >= sizeof(uint32_t)) {
			uint32_t len;
			memcpy(&len, reply_buffer + at, sizeof len);
			if (len < sizeof(struct reply) || len > MAX_MESSAGE)
				quit(BAD_MESSAGE);
			want = len;
			if (have - at < len)
				break;
			take(reply_buffer + at, len);
			at += len;
			want = sizeof(struct reply);
		}
		have -= at;
		if (at > 0)
			memmove(reply_buffer, reply_buffer + at, have);
		/* Not more than that: what is read ahead may have to be moved. */
		ssize_t n = read(STREAM, reply_buffer + have, want - have + READ_AHEAD);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			quit(STREAM_ENDED);
		have += (size_t)n;
	}
}

static void start(void *(*thread)(void *))
{
	pthread_attr_t a;
	pthread_t t;

	if (pthread_attr_init(&a) != 0 || pthread_attr_setstacksize(&a, STACK) != 0 ||
	    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED) != 0 || pthread_create(&t, &a, thread, NULL) != 0)
		quit(SYSTEM_FAILED);
	pthread_attr_destroy(&a);
}

/* block makes a descriptor blocking, whatever who opened it had in mind. */
static void block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
		quit(SYSTEM_FAILED);
}

int main(void)
{
	struct {
		struct request head;
		uint32_t version, thread;
	} hello = {.head = own(HELLO, sizeof hello), .version = VERSION};
	_Static_assert(sizeof hello == 48, "HELLO of docs/wire.md");
	sigset_t set;
	int sig;

	block(FUSE);
	block(STREAM);
	umask(0); /* what is injected has its mode as it is */
	/* The kernel may wait for us to free memory: our own allocations must not wait for
	 * it in turn. One without the right to say so does without. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGPIPE); /* for ever: a write says it too */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigdelset(&set, SIGPIPE);
	if (sem_init(&notify_ready, 0, 0) != 0 || sem_init(&job_ready, 0, 0) != 0 || sem_init(&parted, 0, 0) != 0)
		quit(SYSTEM_FAILED);

	start(injector);
	start(notifier);
	wait_for(&parted);
	wait_for(&parted);
	close(ROOT); /* the injector's own is the last */
	hello.thread = (uint32_t)atomic_load(&injector_id);
	send_message(&hello, sizeof hello);
	start(requests);
	start(replies);
	for (;;) {
		if (sigwait(&set, &sig) == 0 && !atomic_exchange(&job_last, true))
			sem_post(&job_ready);
	}
}
