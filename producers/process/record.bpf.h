/* What program.bpf.c writes: into the ring buffer, and into the counters. record.py and ring.py read
 * it: change them together. */
#pragma once

#include <linux/types.h>

#define ARGV_LIMIT 4096
#define DATA_MASK 16383     /* where a section may begin */
#define DATA_SIZE (DATA_MASK + 1 + ARGV_LIMIT)

enum { EXEC = 1, EXIT = 2 };

enum {
  FORKED = 1,
  CGROUP_TRUNCATED = 2,
  EXE_TRUNCATED = 4,
  CWD_TRUNCATED = 8,
  ARGV_UNREADABLE = 16,
};

/* Indexes into counters, in the order of ring.py's Counters. */
enum {
  EXEC_SEEN,
  EXEC_FILTERED,
  EXEC_LOST,
  EXIT_SEEN,
  EXIT_FILTERED,
  EXIT_LOST,
  COUNTERS,
};

struct record {
  u64 timestamp;      /* ns of the boot clock, like the two below */
  u64 start;
  u64 parent_start;
  u32 pid;
  u32 parent_pid;
  u32 uid;
  u32 status;         /* as wait(2) gives it */
  u32 argv_size;      /* bytes that exec was given, of which data holds argv_length */
  u16 action;
  u16 flags;
  u16 cgroup_length;  /* the sections of data, in this order */
  u16 hostname_length;
  u16 argv_length;
  u16 exe_length;
  u16 cwd_length;
  u16 unused;
  char comm[16];
  char data[DATA_SIZE];
};
