#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The host's first process: the rest is on the second disk, which is made anew for each round.
mount -t proc proc /proc
mkdir -p /srv/round
modprobe squashfs
mount -t squashfs -o ro /dev/vdb /srv/round
exec /srv/round/inside/begin.sh
