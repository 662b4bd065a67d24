/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SERVE_H
#define SERVE_H

/* Answer upcalls on @dev until a signal ends the server. */
int serve(int dev, int folder);

#endif /* SERVE_H */
