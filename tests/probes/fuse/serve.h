/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SERVE_H
#define SERVE_H

/*
 * Answer requests that come through @dev until the file system is unmounted;
 * closes @ready, after a byte if the kernel passes files through.
 */
int serve(int dev, int folder, int depth, int ready);

#endif /* SERVE_H */
