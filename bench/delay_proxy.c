/*
 * delay_proxy.c: a line that takes its time.
 *
 * delay_proxy MICROSECONDS SOCKET...
 *
 * Listens on 127.0.0.1, on a free TCP port for each of these Unix sockets, and
 * prints the ports in a line. What comes in is handed on to the socket, and
 * what the socket answers is handed back, each after that many microseconds;
 * so a round trip takes twice as long. Bytes in flight do not wait for each
 * other: it is the delay of a distance, not of a narrow line.
 *
 * All chunks have the same delay, so they are due in the order in which they
 * came: one queue for all. One thread, one epoll; a few system calls a chunk.
 * It ends when its parent ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES 65536
#define EVENTS_AT_ONCE 64
#define STUCK_MS 10000

typedef struct End
{
	int			fd;
	const char *leads_to;		/* of a listener: the socket it stands for */
	struct End *peer;			/* of a connection: its other end */
	bool		heard_all;		/* nothing more will be read from it */
	bool		told_all;		/* nothing more will be written to it */
} End;

typedef struct Chunk
{
	struct Chunk *next;
	End		   *to;
	long		due_ns;
	size_t		bytes;			/* 0: the sender has nothing more to say */
	char		content[];
} Chunk;

static int	events;
static long delay_ns;
static Chunk *first;
static Chunk *last;

static void
fail(const char *what)
{
	fprintf(stderr, "delay_proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static End *
watch(int fd)
{
	End		   *end = calloc(1, sizeof(End));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};

	if (end == NULL || fd < 0)
		fail("no connection");
	end->fd = fd;
	if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
	return end;
}

/* A port for a socket; the kernel chooses which. */
static int
listen_for(const char *path)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	size = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &address, size) != 0 || listen(fd, 128) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &size) != 0)
		fail("cannot listen");
	watch(fd)->leads_to = path;
	return ntohs(address.sin_port);
}

static void
connect_through(End *listener)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			one = 1;
	End		   *near = watch(accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC));
	End		   *far = watch(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	if (setsockopt(near->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		fail("TCP_NODELAY");
	if (strlen(listener->leads_to) >= sizeof(address.sun_path))
	{
		errno = ENAMETOOLONG;
		fail(listener->leads_to);
	}
	strcpy(address.sun_path, listener->leads_to);
	if (connect(far->fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		fail(listener->leads_to);
	near->peer = far;
	far->peer = near;
}

/* Put what an end says on its way. */
static void
hear(End *end)
{
	static char buffer[CHUNK_BYTES];
	ssize_t		bytes = recv(end->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	Chunk	   *chunk;

	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (bytes <= 0)
	{
		/* over, or broken, which is over as well */
		bytes = 0;
		end->heard_all = true;
		if (epoll_ctl(events, EPOLL_CTL_DEL, end->fd, NULL) != 0)
			fail("epoll_ctl");
	}
	chunk = malloc(sizeof(Chunk) + bytes);
	if (chunk == NULL)
		fail("no memory");
	chunk->next = NULL;
	chunk->to = end->peer;
	chunk->due_ns = now_ns() + delay_ns;
	chunk->bytes = bytes;
	memcpy(chunk->content, buffer, bytes);
	if (first == NULL)
		first = chunk;
	else
		last->next = chunk;
	last = chunk;
}

static void
tell(End *end, const char *content, size_t bytes)
{
	while (bytes > 0)
	{
		ssize_t		written = send(end->fd, content, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (written < 0 && errno == EAGAIN)
		{
			struct pollfd writable = {.fd = end->fd, .events = POLLOUT};

			if (poll(&writable, 1, STUCK_MS) != 1)
				fail("nobody reads");
			continue;
		}
		if (written < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;				/* gone: its own end is heard next */
		if (written < 0)
			fail("cannot write");
		content += written;
		bytes -= written;
	}
}

/* An end that will neither speak nor be spoken to is closed together with its peer. */
static void
end_of(End *end)
{
	End		   *peer = end->peer;

	end->told_all = true;
	shutdown(end->fd, SHUT_WR);
	if (!peer->told_all)
		return;
	close(end->fd);
	close(peer->fd);
	free(end);
	free(peer);
}

/* Hand on what is due. */
static void
deliver(void)
{
	long		now = now_ns();

	while (first != NULL && first->due_ns <= now)
	{
		Chunk	   *chunk = first;

		first = chunk->next;
		if (chunk->bytes > 0)
			tell(chunk->to, chunk->content, chunk->bytes);
		else
			end_of(chunk->to);
		free(chunk);
	}
}

/* Wait until something comes or is due. */
static void
turn(void)
{
	struct epoll_event came[EVENTS_AT_ONCE];
	struct timespec wait;
	long		wait_ns = first == NULL ? 0 : first->due_ns - now_ns();
	int			n;

	if (wait_ns < 0)
		wait_ns = 0;
	wait.tv_sec = wait_ns / 1000000000L;
	wait.tv_nsec = wait_ns % 1000000000L;
	n = epoll_pwait2(events, came, EVENTS_AT_ONCE, first == NULL ? NULL : &wait, NULL);
	if (n < 0 && errno != EINTR)
		fail("epoll_pwait2");
	for (int i = 0; i < n; i++)
	{
		End		   *end = came[i].data.ptr;

		if (end->leads_to != NULL)
			connect_through(end);
		else
			hear(end);
	}
	deliver();
}

int
main(int argc, char **argv)
{
	if (argc < 3 || (delay_ns = atol(argv[1]) * 1000L) < 0)
	{
		fprintf(stderr, "usage: delay_proxy MICROSECONDS SOCKET...\n");
		return 1;
	}
	/* the kernel may else be late by 50 microseconds */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || prctl(PR_SET_TIMERSLACK, 1) != 0)
		fail("prctl");
	events = epoll_create1(EPOLL_CLOEXEC);
	if (events < 0)
		fail("epoll_create1");
	for (int i = 2; i < argc; i++)
		printf("%d%c", listen_for(argv[i]), i + 1 < argc ? ' ' : '\n');
	if (fflush(stdout) != 0 || fclose(stdout) != 0)
		fail("cannot tell the ports");
	for (;;)
		turn();
}
