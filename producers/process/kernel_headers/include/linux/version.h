/* bcc asks for the version only to choose how it writes probes; raw tracepoints need none. The
 * ring buffer came with Linux 5.8, so nothing older runs this program. */
#pragma once

#define KERNEL_VERSION(major, minor, patch) \
  (((major) << 16) + ((minor) << 8) + ((patch) > 255 ? 255 : (patch)))

#ifndef LINUX_VERSION_CODE
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
#endif
