/* Reports every exec and every death of a process (thread group) into a ring buffer.
 *
 * Compiled on the node by bcc, without kernel headers. Structure offsets (OFFSET_*) come from the
 * running kernel's BTF, see offsets.py; the other macros from loader.py:
 *
 *   RING_PAGES            size of the ring buffer, a power of two of pages
 *   WAKE_EVERY            wake the reader early after so many execs or exits, a power of two
 *   BIRTHS                how many living processes' parents are remembered
 *   CGROUP_V1             1: cgroup paths of the v1 memory controller; 0: of the v2 hierarchy
 *   EXIT_TELLS_GROUP_DEAD 1: the exit tracepoint says whether the last thread ended (Linux 6.16)
 *   CGROUP_FILTERS, HOSTNAME_FILTERS   how many prefixes of each to compare; 0: no filter
 */
#include <uapi/linux/bpf.h>
#include "record.bpf.h"

#define NAME_LIMIT 256      /* NAME_MAX and the final NUL */
#define PATH_DEPTH 64       /* components and mounts of exe and cwd */
#define CGROUP_DEPTH 20
#define HOSTNAME_WORDS 9    /* 64 characters and the final NUL, in 8-byte words */
#define FILTER_WORDS 16

#define PF_FORKNOEXEC 0x00000040  /* include/linux/sched.h: forked, but did not exec */
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004  /* include/linux/sched/signal.h */

/* Where a record is put together: too large for the stack of a BPF program. What loops change is
 * kept here, too: the verifier takes everything read from a map as unknown, so that each turn of a
 * loop looks alike to it, where it would follow every possible length of every name in a register
 * and give up. */
struct workspace {
  u64 hostname[HOSTNAME_WORDS];
  u64 cgroups[CGROUP_DEPTH];
  u64 end;            /* of what record.data holds */
  struct record record;
};

/* Who gave birth to a process: at its exec or exit that parent may have died already, and init
 * be its parent. */
struct birth {
  u64 start;
  u64 parent_start;
  u32 parent_pid;
  u32 reported;       /* an exec of it passed the filter */
};

struct prefix {
  u64 wanted[FILTER_WORDS];
  u64 mask[FILTER_WORDS];
  u64 length;
};

BPF_RINGBUF_OUTPUT(records, RING_PAGES);
BPF_PERCPU_ARRAY(workspaces, struct workspace, 2);
BPF_TABLE("lru_hash", u32, struct birth, births, BIRTHS);
/* One array for all CPUs, so that the reader maps it and needs no system call. */
BPF_F_TABLE("array", u32, u64, counters, COUNTERS, BPF_F_MMAPABLE);
/* The reader's own notes, pinned beside the ring; see handover.py. */
BPF_F_TABLE("array", u32, u64, cursor, 32, BPF_F_MMAPABLE);
#if CGROUP_FILTERS > 0
BPF_ARRAY(cgroup_prefixes, struct prefix, CGROUP_FILTERS);
#endif
#if HOSTNAME_FILTERS > 0
BPF_ARRAY(hostname_prefixes, struct prefix, HOSTNAME_FILTERS);
#endif
#if !EXIT_TELLS_GROUP_DEAD
struct death {
  u64 start;
  u64 pid;
};
BPF_TABLE("lru_hash", struct death, u32, deaths, 1024);
#endif

/* Keeps a value in one register from its check to its use: without it clang checks a copy, and the
 * verifier refuses the original as unbounded. */
#define SAME_REGISTER(value) asm volatile("" : "+r"(value))

static __always_inline u64 count(u32 counter) {
  u64 *value = counters.lookup(&counter);
  if (!value) return 0;
  lock_xadd(value, 1);
  return *value;
}

static __always_inline u64 read_pointer(u64 base, u32 offset) {
  u64 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
  return value;
}

static __always_inline u32 read_u32(u64 base, u32 offset) {
  u32 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
  return value;
}

/* Appends a NUL-terminated string of the kernel and returns its length with the NUL; 0 if it is
 * unreadable or there is no room. The NUL stays behind the end of the data. */
static __always_inline u32 append(struct workspace *workspace, u64 string) {
  u64 end = workspace->end;
  SAME_REGISTER(end);
  if (end > DATA_MASK) return 0;
  int length =
      bpf_probe_read_kernel_str(&workspace->record.data[end], NAME_LIMIT, (void *)string);
  if (length <= 0) return 0;
  workspace->end = end + length - 1;
  return length;
}

/* The path of a cgroup below the root of its hierarchy, from the root down: "/kubepods/pod1/2".
 * Nothing for the root itself. */
static __always_inline void append_cgroup(struct workspace *workspace, u64 task) {
  u64 set = read_pointer(task, OFFSET_TASK_STRUCT_CGROUPS);
#if CGROUP_V1
  u64 state = read_pointer(set, OFFSET_CSS_SET_SUBSYS + 8 * MEMORY_SUBSYSTEM);
  u64 cgroup = read_pointer(state, OFFSET_CGROUP_SUBSYS_STATE_CGROUP);
#else
  u64 cgroup = read_pointer(set, OFFSET_CSS_SET_DFL_CGRP);
#endif
  u64 node = read_pointer(cgroup, OFFSET_CGROUP_KN);
#pragma clang loop unroll(disable)
  for (u32 index = 0; index < CGROUP_DEPTH; index++) {
    u64 parent = read_pointer(node, OFFSET_KERNFS_NODE_PARENT);
    workspace->cgroups[index] = parent ? node : 0;
    if (parent) node = parent;
  }
  if (read_pointer(node, OFFSET_KERNFS_NODE_PARENT)) workspace->record.flags |= CGROUP_TRUNCATED;
#pragma clang loop unroll(disable)
  for (u32 index = 0; index < CGROUP_DEPTH; index++) {
    u64 component = workspace->cgroups[CGROUP_DEPTH - 1 - index];
    if (!component) continue;
    u64 end = workspace->end;
    SAME_REGISTER(end);
    if (end > DATA_MASK) return;
    workspace->record.data[end] = '/';
    workspace->end = end + 1;
    append(workspace, read_pointer(component, OFFSET_KERNFS_NODE_NAME));
  }
}

/* A path as the process sees it, from the last component up, each with a NUL behind it; across
 * mounts, up to the process's root directory. */
static __always_inline void append_path(struct workspace *workspace, u64 path, u64 root,
                                        u16 truncated) {
  u64 entry = read_pointer(path, OFFSET_PATH_DENTRY);
  u64 mount = read_pointer(path, OFFSET_PATH_MNT);
  u64 root_entry = read_pointer(root, OFFSET_PATH_DENTRY);
  u64 root_mount = read_pointer(root, OFFSET_PATH_MNT);
#pragma clang loop unroll(disable)
  for (u32 depth = 0; depth < PATH_DEPTH; depth++) {
    if (entry == root_entry && mount == root_mount) return;
    u64 parent = read_pointer(entry, OFFSET_DENTRY_D_PARENT);
    if (entry == parent || entry == read_pointer(mount, OFFSET_VFSMOUNT_MNT_ROOT)) {
      u64 outer = mount - OFFSET_MOUNT_MNT;
      u64 above = read_pointer(outer, OFFSET_MOUNT_MNT_PARENT);
      if (!above || above == outer) return;
      entry = read_pointer(outer, OFFSET_MOUNT_MNT_MOUNTPOINT);
      mount = above + OFFSET_MOUNT_MNT;
    } else {
      if (!append(workspace, read_pointer(entry, OFFSET_DENTRY_D_NAME_NAME))) break;
      workspace->end++;
      entry = parent;
    }
  }
  workspace->record.flags |= truncated;
}

#if CGROUP_FILTERS > 0 || HOSTNAME_FILTERS > 0
/* The length is compared as well, since what follows a text in the record is another one. */
static __always_inline bool begins_with(const u64 *text, u32 length, u32 words,
                                        const struct prefix *prefix) {
  if (length < prefix->length) return false;
#pragma unroll
  for (u32 word = 0; word < words; word++) {
    if (!prefix->mask[word]) return true;
    if ((text[word] & prefix->mask[word]) != prefix->wanted[word]) return false;
  }
  return true;
}
#endif

/* Whether the process is one to report: its cgroup begins with one of the cgroup prefixes, and its
 * host name with one of the host name prefixes, where there are any. */
static __always_inline bool selected(const struct workspace *workspace) {
#if CGROUP_FILTERS > 0
  bool in_cgroup = false;
#pragma unroll
  for (u32 index = 0; index < CGROUP_FILTERS; index++) {
    u32 key = index;
    struct prefix *prefix = cgroup_prefixes.lookup(&key);
    const u64 *text = (const u64 *)workspace->record.data;
    if (prefix && begins_with(text, workspace->record.cgroup_length, FILTER_WORDS, prefix))
      in_cgroup = true;
  }
  if (!in_cgroup) return false;
#endif
#if HOSTNAME_FILTERS > 0
  bool on_host = false;
#pragma unroll
  for (u32 index = 0; index < HOSTNAME_FILTERS; index++) {
    u32 key = index;
    struct prefix *prefix = hostname_prefixes.lookup(&key);
    u32 length = workspace->record.hostname_length;
    if (prefix && begins_with(workspace->hostname, length, HOSTNAME_WORDS, prefix)) on_host = true;
  }
  if (!on_host) return false;
#endif
  return true;
}

/* Fills in what execs and exits share. */
static __always_inline void describe(struct workspace *workspace, u64 task, u16 action,
                                     struct birth *birth) {
  struct record *record = &workspace->record;
  u64 leader = read_pointer(task, OFFSET_TASK_STRUCT_GROUP_LEADER);
  record->timestamp = bpf_ktime_get_boot_ns();
  record->start = read_pointer(leader, OFFSET_TASK_STRUCT_START_BOOTTIME);
  record->pid = bpf_get_current_pid_tgid() >> 32;
  record->uid = (u32)bpf_get_current_uid_gid();
  record->status = 0;
  record->argv_size = 0;
  record->action = action;
  record->flags = 0;
  record->argv_length = record->exe_length = record->cwd_length = record->unused = 0;
  bpf_probe_read_kernel(record->comm, sizeof(record->comm),
                        (void *)(leader + OFFSET_TASK_STRUCT_COMM));
  if (birth && birth->start == record->start) {
    record->parent_pid = birth->parent_pid;
    record->parent_start = birth->parent_start;
  } else {
    u64 parent = read_pointer(leader, OFFSET_TASK_STRUCT_REAL_PARENT);
    record->parent_pid = read_u32(parent, OFFSET_TASK_STRUCT_TGID);
    record->parent_start = read_pointer(read_pointer(parent, OFFSET_TASK_STRUCT_GROUP_LEADER),
                                        OFFSET_TASK_STRUCT_START_BOOTTIME);
  }
  workspace->end = 0;
  append_cgroup(workspace, task);
  record->cgroup_length = workspace->end;
#pragma unroll
  for (u32 word = 0; word < HOSTNAME_WORDS; word++) workspace->hostname[word] = 0;
  u64 namespaces = read_pointer(task, OFFSET_TASK_STRUCT_NSPROXY);
  if (namespaces) {
    u64 uts = read_pointer(namespaces, OFFSET_NSPROXY_UTS_NS);
    bpf_probe_read_kernel_str(workspace->hostname, 65,
                              (void *)(uts + OFFSET_UTS_NAMESPACE_NAME_NODENAME));
  }
  append(workspace, (u64)workspace->hostname);
  record->hostname_length = workspace->end - record->cgroup_length;
}

/* The reader looks every few tens of milliseconds and drains what is there; to wake it for every
 * record would cost more than the record. */
static __always_inline bool submit(struct workspace *workspace, u64 seen) {
  u64 wake = seen % WAKE_EVERY ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;
  u64 size = workspace->end + __builtin_offsetof(struct record, data);
  SAME_REGISTER(size);
  if (size > sizeof(struct record)) return false;
  return records.ringbuf_output(&workspace->record, size, wake) == 0;
}

int on_fork(struct bpf_raw_tracepoint_args *ctx) {
  u64 child = ctx->args[1];
  u32 pid = read_u32(child, OFFSET_TASK_STRUCT_PID);
  if (pid != read_u32(child, OFFSET_TASK_STRUCT_TGID)) return 0;
  u64 parent = read_pointer(child, OFFSET_TASK_STRUCT_REAL_PARENT);
  struct birth birth = {
    .start = read_pointer(child, OFFSET_TASK_STRUCT_START_BOOTTIME),
    .parent_start = read_pointer(read_pointer(parent, OFFSET_TASK_STRUCT_GROUP_LEADER),
                                 OFFSET_TASK_STRUCT_START_BOOTTIME),
    .parent_pid = read_u32(parent, OFFSET_TASK_STRUCT_TGID),
  };
  births.update(&pid, &birth);
  return 0;
}

int on_exec(struct bpf_raw_tracepoint_args *ctx) {
  u64 task = ctx->args[0];
  /* The kernel calls tracepoints with preemption disabled, so a workspace has one user at a time;
   * exec and exit have one each all the same. */
  u32 slot = 0;
  struct workspace *workspace = workspaces.lookup(&slot);
  if (!workspace) return 0;
  struct record *record = &workspace->record;
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  struct birth *birth = births.lookup(&pid);

  u64 seen = count(EXEC_SEEN);
  describe(workspace, task, EXEC, birth);
  if (!selected(workspace)) {
    count(EXEC_FILTERED);
    return 0;
  }
  if (birth && birth->start == record->start) birth->reported = 1;

  u64 memory = read_pointer(task, OFFSET_TASK_STRUCT_MM);
  u64 from = read_pointer(memory, OFFSET_MM_STRUCT_ARG_START);
  u64 length = read_pointer(memory, OFFSET_MM_STRUCT_ARG_END) - from;
  record->argv_size = length;
  if (length > ARGV_LIMIT) length = ARGV_LIMIT;
  u64 end = workspace->end;
  SAME_REGISTER(length);
  SAME_REGISTER(end);
  if (length <= ARGV_LIMIT && end <= DATA_MASK) {
    if (bpf_probe_read_user(&record->data[end], length, (void *)from) == 0) {
      record->argv_length = length;
      workspace->end = end + length;
    } else {
      record->flags |= ARGV_UNREADABLE;
    }
  }

  u64 directories = read_pointer(task, OFFSET_TASK_STRUCT_FS);
  u64 root = directories + OFFSET_FS_STRUCT_ROOT;
  u64 file = read_pointer(memory, OFFSET_MM_STRUCT_EXE_FILE);
  u64 section = workspace->end;
  append_path(workspace, file + OFFSET_FILE_F_PATH, root, EXE_TRUNCATED);
  record->exe_length = workspace->end - section;
  section = workspace->end;
  append_path(workspace, directories + OFFSET_FS_STRUCT_PWD, root, CWD_TRUNCATED);
  record->cwd_length = workspace->end - section;

  if (!submit(workspace, seen)) count(EXEC_LOST);
  return 0;
}

int on_exit(struct bpf_raw_tracepoint_args *ctx) {
  u64 task = ctx->args[0];
  u64 signal = read_pointer(task, OFFSET_TASK_STRUCT_SIGNAL);
  u64 leader = read_pointer(task, OFFSET_TASK_STRUCT_GROUP_LEADER);
  u32 pid = bpf_get_current_pid_tgid() >> 32;
#if EXIT_TELLS_GROUP_DEAD
  if (!(ctx->args[1] & 0xff)) return 0;
#else
  /* do_exit() decrements "live" some time before the tracepoint, so that two threads that end at
   * once may both find it 0: only the first may report. */
  if (read_u32(signal, OFFSET_SIGNAL_STRUCT_LIVE) != 0) return 0;
  struct death death = {
    .start = read_pointer(leader, OFFSET_TASK_STRUCT_START_BOOTTIME),
    .pid = pid,
  };
  u32 reported = 1;
  if (deaths.insert(&death, &reported) != 0) return 0;
#endif
  u32 process_flags = read_u32(leader, OFFSET_TASK_STRUCT_FLAGS);
  if (process_flags & PF_KTHREAD) return 0;
  u32 slot = 1;
  struct workspace *workspace = workspaces.lookup(&slot);
  if (!workspace) return 0;
  struct record *record = &workspace->record;
  struct birth *birth = births.lookup(&pid);

  u64 seen = count(EXIT_SEEN);
  describe(workspace, task, EXIT, birth);
  bool reported_exec = birth && birth->start == record->start && birth->reported;
  births.delete(&pid);
  if (!reported_exec && !selected(workspace)) {
    count(EXIT_FILTERED);
    return 0;
  }
  /* The same choice that the kernel makes for the parent that waits (kernel/exit.c). */
  record->status = read_u32(signal, OFFSET_SIGNAL_STRUCT_FLAGS) & SIGNAL_GROUP_EXIT
                       ? read_u32(signal, OFFSET_SIGNAL_STRUCT_GROUP_EXIT_CODE)
                       : read_u32(leader, OFFSET_TASK_STRUCT_EXIT_CODE);
  if (process_flags & PF_FORKNOEXEC) {
    record->flags |= FORKED;
    u64 directories = read_pointer(task, OFFSET_TASK_STRUCT_FS);
    u64 section = workspace->end;
    append_path(workspace, directories + OFFSET_FS_STRUCT_PWD,
                directories + OFFSET_FS_STRUCT_ROOT, CWD_TRUNCATED);
    record->cwd_length = workspace->end - section;
  }
  if (!submit(workspace, seen)) count(EXIT_LOST);
  return 0;
}
