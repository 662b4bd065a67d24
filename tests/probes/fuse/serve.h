/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SERVE_H
#define SERVE_H

/*
 * Answer requests on @dev until the file system is unmounted. If the kernel
 * supports passthrough, write a byte to @ready. Then close @ready.
 */
int serve(int dev, int folder, int depth, int ready);

#endif /* SERVE_H */
