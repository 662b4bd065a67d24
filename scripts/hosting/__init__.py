# SPDX-License-Identifier: GPL-2.0
"""Parts of scripts/hosts: whole hosts in VMs, and the testbed in each of them."""
