/* Included by bcc; this program uses nothing of it. */
#pragma once
