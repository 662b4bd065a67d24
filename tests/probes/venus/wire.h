/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The upcalls of linux/coda.h. It wants linux/time.h, the types of which glibc
 * has as well, and needs none of them: the macro has that file left out.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <sys/types.h>

#define _LINUX_TIME_H
#include <linux/coda.h>

#endif /* WIRE_H */
