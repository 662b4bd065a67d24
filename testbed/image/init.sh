#!/bin/busybox sh
# The guest's first program. It mounts file systems, starts SSH, and announces
# that userspace is up.
#
# It prints through /dev/kmsg: each line then reaches the console whole, never
# in the middle of a line of the kernel.

export PATH=/bin:/sbin

mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -a

read -r words </proc/cmdline

# A folder of the user (vm/qemu.py) whose files can be mapped.
case $words in
*testbed.user*)
	mkdir -p /mnt && modprobe -a 9pnet_virtio 9p &&
		mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=mmap user /mnt 2>/dev/kmsg
	;;
esac

# dropbear binds its port before it goes to the background: when it returns, a
# client can connect.
dropbear -s -j -k -E -r /etc/dropbear/host_key 2>/dev/kmsg
# Reseeds the VM when it becomes a clone.
for port in /dev/vport*p1; do
	[ -c "$port" ] && setsid reseed "$port" </dev/null &
done
echo 'testbed: ready' >/dev/kmsg

# For a boot by hand (vm/qemu.py: argv_by_hand).
case $words in
*testbed.shell*)
	while :; do setsid cttyhack sh -l; done &
	;;
esac

# From here on process 1 reaps orphans, and shuts down on request.
exec init
