#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs the cells of a nightly as an array job of Slurm, and takes the results.
#
#   docs/ci/slurm.sh nightly.toml
#
# The checkout and the folder `cells` must be on a file system that all nodes share. A node that dies
# gives its cells back (--requeue): a cell that has its result then does nothing. Slurm counts VMs if
# its administrator made them a resource:
#
#   slurm.conf:  GresTypes=qemu      NodeName=node1 Gres=qemu:4
#   gres.conf:   Name=qemu Count=4
#
#SBATCH --job-name=testbed
#SBATCH --requeue
#SBATCH --time=08:00:00
#SBATCH --cpus-per-task=2
#SBATCH --gres=qemu:2
#SBATCH --mem=4G
#SBATCH --output=/dev/null
set -euo pipefail

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
	# One task of the array: one cell.
	cd "$TESTBED_CHECKOUT"
	cell=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" cells/list)
	mkdir -p "cells/done/$cell"
	# exec: Slurm's signals reach the testbed, which ends its VMs.
	exec .venv/bin/testbed run-cell "cells/todo/$cell/cell.json" --out "cells/done/$cell" \
		>"cells/done/$cell/log" 2>&1
fi

matrix=${1:?usage: docs/ci/slurm.sh nightly.toml}
TESTBED_CHECKOUT=$(cd "$(dirname "$0")/../.." && pwd)
export TESTBED_CHECKOUT
matrix=$(realpath "$matrix")
cd "$TESTBED_CHECKOUT"
rm -rf cells/todo
.venv/bin/testbed nightly "$matrix" --export cells/todo
ls cells/todo >cells/list
count=$(wc -l <cells/list)
if [ "$count" -gt 0 ]; then
	# --wait: until all tasks have ended. Its status is that of the worst cell, which the nightly judges.
	sbatch --wait --array="0-$((count - 1))" "docs/ci/$(basename "$0")" || true
fi
exec .venv/bin/testbed nightly "$matrix" --from cells/done
