/* bcc gives this file to the compiler first of all (-include). */
#pragma once

#define CONFIG_BPF_SYSCALL 1

#include <linux/types.h>
