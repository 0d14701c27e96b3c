/* bcc includes its own copy of the BPF interface beforehand; this file satisfies the name. */
#pragma once

#include <linux/types.h>
