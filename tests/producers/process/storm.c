/* A load with known truth. Each scenario starts processes and prints, for each of them that it
 * waited for, one line: label, pid, and the status as wait(2) gave it.
 *
 *   storm codes                    256 children that exit 0 to 255
 *   storm signals                  children that die by signals, once without and once with core
 *   storm thread-exec              a thread that is not the leader execs
 *   storm leader-exit              the leader ends early, another thread then exits 9
 *   storm leader-return            the leader ends early, the last thread returns
 *   storm thread-race N            N children whose eight threads end at the same instant
 *   storm fork-only                a child that exits 6 without exec
 *   storm double-fork              a grandchild whose parent died before its exec; prints its pid
 *   storm re-exec                  a child that execs twice, then exits 8
 *   storm flood N WORKERS MARK     N children as fast as WORKERS can, child i exits i % 251
 *   storm exit CODE [anything…]    exits with CODE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char self[4096];

static void fail(const char *what) {
  perror(what);
  exit(99);
}

static pid_t spawn(char **argv) {
  pid_t pid;
  errno = posix_spawn(&pid, self, NULL, NULL, argv, environ);
  if (errno) fail("posix_spawn");
  return pid;
}

static int await(pid_t pid) {
  int status;
  if (waitpid(pid, &status, 0) != pid) fail("waitpid");
  return status;
}

static void report(const char *label, pid_t pid) { printf("%s %d %d\n", label, pid, await(pid)); }

static void *exec_self(void *label) {
  char *argv[] = {"storm", "exit", "7", label, NULL};
  execv(self, argv);
  fail("execv");
  return NULL;
}

static void *wait_forever(void *unused) {
  for (;;) pause();
  return unused;
}

static void *exit_9(void *leader) {
  pthread_join(*(pthread_t *)leader, NULL);
  exit(9);
}

static void *just_return(void *leader) {
  pthread_join(*(pthread_t *)leader, NULL);
  return NULL;
}

static pthread_barrier_t barrier;
static void *end_together(void *unused) {
  pthread_barrier_wait(&barrier);
  return unused;
}

static void run_thread_exec(char *label) {
  pthread_t thread;
  for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, wait_forever, NULL);
  pthread_create(&thread, NULL, exec_self, label);
  wait_forever(NULL);
}

static void leave_by_thread(void *(*last)(void *)) {
  static pthread_t leader, thread;
  leader = pthread_self();
  pthread_create(&thread, NULL, last, &leader);
  pthread_exit(NULL);
}

static void race(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 8);
  for (int i = 0; i < 7; i++) pthread_create(&thread, NULL, end_together, NULL);
  pthread_barrier_wait(&barrier);
  pthread_exit(NULL);
}

static void codes(void) {
  for (int code = 0; code < 256; code++) {
    char text[8];
    sprintf(text, "%d", code);
    char *argv[] = {"storm", "exit", text, "codes", NULL};
    report(text, spawn(argv));
  }
}

static void signals(void) {
  static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
                              SIGFPE,  SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM,
                              SIGTERM, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGSYS};
  for (int core = 0; core < 2; core++) {
    struct rlimit limit = {core ? RLIM_INFINITY : 0, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &limit)) fail("setrlimit");
    for (unsigned i = 0; i < sizeof(fatal) / sizeof(*fatal); i++) {
      char text[8], *argv[] = {"storm", "die", text, NULL};
      sprintf(text, "%d", fatal[i]);
      report(core ? "core" : "plain", spawn(argv));
    }
  }
}

static void double_fork(void) {
  int ends[2];
  char byte;
  pid_t child, grandchild, middle;
  if (pipe(ends)) fail("pipe");
  if ((child = fork()) == 0) {
    middle = getpid();
    if ((grandchild = fork()) == 0) {
      close(ends[1]);
      /* Ends when the parent, which holds the other end, has died. */
      if (read(ends[0], &byte, 1) < 0) fail("read");
      while (getppid() == middle) usleep(100);
      char *argv[] = {"storm", "exit", "4", "orphan", NULL};
      execv(self, argv);
    }
    printf("orphan %d -1\n", grandchild);
    fflush(stdout);
    _exit(2);
  }
  close(ends[1]);
  report("middle", child);
}

static void flood(int count, int workers, char *mark) {
  for (int worker = 0; worker < workers; worker++) {
    if (fork() == 0) {
      for (int i = worker; i < count; i += workers) {
        char code[8], number[16], *argv[] = {"storm", "exit", code, number, mark, NULL};
        sprintf(code, "%d", i % 251);
        sprintf(number, "%d", i);
        if (WEXITSTATUS(await(spawn(argv))) != i % 251) _exit(98);
      }
      _exit(0);
    }
  }
  int status;
  while (wait(&status) > 0)
    if (status) exit(97);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (length < 0) fail("readlink");
  if (!strcmp(what, "exit")) return atoi(argv[2]);
  if (!strcmp(what, "die")) {
    /* A runner of tests may have blocked some, and children inherit that. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(atoi(argv[2]), SIG_DFL);
    raise(atoi(argv[2]));
    return 96;
  }
  if (!strcmp(what, "again")) {
    char *next[] = {"storm", "exit", "8", "third", NULL};
    execv(self, next);
  }
  if (!strcmp(what, "threads-then-exec")) run_thread_exec("thread-exec");
  if (!strcmp(what, "leader-leaves-9")) leave_by_thread(exit_9);
  if (!strcmp(what, "leader-leaves-0")) leave_by_thread(just_return);
  if (!strcmp(what, "race")) race();

  if (!strcmp(what, "codes")) codes();
  if (!strcmp(what, "signals")) signals();
  if (!strcmp(what, "thread-exec"))
    report("child", spawn((char *[]){"storm", "threads-then-exec", NULL}));
  if (!strcmp(what, "leader-exit"))
    report("child", spawn((char *[]){"storm", "leader-leaves-9", NULL}));
  if (!strcmp(what, "leader-return"))
    report("child", spawn((char *[]){"storm", "leader-leaves-0", NULL}));
  if (!strcmp(what, "thread-race"))
    for (int i = 0; i < atoi(argv[2]); i++)
      report("child", spawn((char *[]){"storm", "race", NULL}));
  if (!strcmp(what, "re-exec")) report("child", spawn((char *[]){"storm", "again", "x", NULL}));
  if (!strcmp(what, "fork-only")) {
    pid_t child = fork();
    if (child == 0) _exit(6);
    report("child", child);
  }
  if (!strcmp(what, "double-fork")) double_fork();
  if (!strcmp(what, "flood")) flood(atoi(argv[2]), atoi(argv[3]), argv[4]);
  return 0;
}
