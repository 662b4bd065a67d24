/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The upcalls of linux/coda.h. The macro keeps it from including linux/time.h:
 * coda.h does not use it, and its types conflict with glibc.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <sys/types.h>

#define _LINUX_TIME_H
#include <linux/coda.h>

#endif /* WIRE_H */
