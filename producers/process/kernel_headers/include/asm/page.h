/* Included by bcc, which only wants a page size to exist. */
#pragma once

#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif
