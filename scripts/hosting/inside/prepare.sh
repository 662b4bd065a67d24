#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run as root in the new root file system: make the user, and set the testbed up as the user would.
set -eu
user=$1 checkout=$2 wheels=$3
useradd --create-home --shell /bin/bash --groups kvm "$user"
mkdir -p "$checkout"
cp -r /opt/checkout/. "$checkout"
chown -R "$user:" "$checkout"

# Nothing is compiled that the host does not import: here it may be emulated.
setup() {
	runuser -u "$user" -- env HOME="/home/$user" PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels" \
		PIP_COMPILE=0 "$checkout/scripts/setup"
}

# A user who cannot install packages is shown the command that root has to run.
if setup 2>/opt/refusal; then
	echo "prepare: scripts/setup found all packages on a fresh host" >&2
	exit 1
fi
cat /opt/refusal >&2
export DEBIAN_FRONTEND=noninteractive
tail -n 1 /opt/refusal | sh -e
setup
setup # finds nothing to do

cp /opt/init.sh /usr/local/sbin/hosts-init
chmod 755 /usr/local/sbin/hosts-init
rm -rf /opt/checkout "$wheels" /opt/refusal /opt/*.sh /var/lib/apt/lists/*
apt-get clean
