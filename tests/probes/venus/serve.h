/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SERVE_H
#define SERVE_H

/* Answer upcalls that come through @dev, until a signal ends it. */
int serve(int dev, int folder);

#endif /* SERVE_H */
