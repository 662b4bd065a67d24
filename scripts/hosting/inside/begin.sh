#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Bring the host up as far as the testbed notices, and serve commands from outside.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname "$(cat /srv/round/hostname)"

# What udev does on a host that runs systemd.
for module in kvm_amd kvm_intel virtio_console virtio_net; do
	modprobe -q "$module"
done
[ -e /dev/kvm ] && chgrp kvm /dev/kvm && chmod 660 /dev/kvm

# The user clones the repository into the folder that scripts/setup prepared.
user=$(cat /srv/round/user)
cp -r /srv/round/checkout/. "/home/$user/mmap-testbed"
chown -R "$user:" $(cd /srv/round/checkout && ls -A | sed "s|^|/home/$user/mmap-testbed/|")
# A disk that was made without root has no other owner than root.
[ "$(stat -c %U "/home/$user")" = "$user" ] || chown -R "$user:" "/home/$user"
# While the first process waits, it also ends the zombies of processes that lost their parents.
python3 /srv/round/inside/agent.py &
wait "$!"
