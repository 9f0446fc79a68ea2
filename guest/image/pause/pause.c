/*
 * pause is the process that a pod's namespaces belong to: it does nothing,
 * and waits for children that were left to it as PID 1 of the pod's process
 * namespace. It ends with success at SIGTERM or SIGINT.
 *
 * The signals are blocked and waited for, not handled: PID 1 of a namespace
 * is not sent signals that it neither blocks nor handles.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return 1;
	for (;;) {
		switch (sigwaitinfo(&set, NULL)) {
		case SIGTERM:
		case SIGINT:
			return 0;
		case SIGCHLD:
			/* One signal may stand for several children. */
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		}
	}
}
