/*
 * Makes events for the benches: load KIND COUNT CPU
 *
 * For each line on standard input, makes COUNT system calls (or calls of a function) of one KIND on
 * one CPU, and prints the nanoseconds of CPU time they took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Probed by the uprobe cases: must stay a function of its own that is really called. */
__attribute__((noinline, noclone)) long probed(long first, long second)
{
	__asm__ volatile("" ::: "memory");
	return first ^ second;
}

static long long cpu_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void make_events(const char *kind, long count)
{
	volatile long sink = 0;

	if (!strcmp(kind, "getppid"))
		for (long i = 0; i < count; i++)
			syscall(SYS_getppid);
	else if (!strcmp(kind, "openat"))
		for (long i = 0; i < count; i++)
			syscall(SYS_openat, AT_FDCWD, "/nowhere/bpflens", O_RDONLY);
	else if (!strcmp(kind, "lseek"))
		for (long i = 0; i < count; i++)
			syscall(SYS_lseek, -1, i, SEEK_SET);
	else if (!strcmp(kind, "function"))
		for (long i = 0; i < count; i++)
			sink += probed(i, sink);
}

int main(int argc, char **argv)
{
	char line[16];
	cpu_set_t cpus;

	if (argc != 4)
		return 2;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[3]), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		long long start = cpu_time();

		make_events(argv[1], atol(argv[2]));
		printf("%lld\n", cpu_time() - start);
	}
	return 0;
}
