/* bcc names struct pt_regs in the prologues of kprobes; a raw tracepoint has none. */
#pragma once

struct pt_regs {
  unsigned long unused;
};
