// SPDX-License-Identifier: GPL-2.0
/*
 * The gate: a hook waits there until user space opens it, so that another
 * system call runs while the hook is under way. The first hook at the chosen
 * place takes it, and no other one waits.
 */
#include <linux/jiffies.h>
#include <linux/wait.h>

#include "mmap_stack.h"

#define MAX_LIMIT_MS	10000

static DECLARE_WAIT_QUEUE_HEAD(gate_queue);
static DEFINE_SPINLOCK(gate_lock);

/*
 * @place: where a hook will wait, or waits
 * @limit: jiffies after which the gate opens by itself
 * @taken: a hook waits, or has waited
 * @open: it need not wait any more
 */
static struct {
	enum mmap_testbed_gate_place place;
	unsigned long limit;
	bool taken;
	bool open;
} gate;

int gate_set(const struct mmap_testbed_gate *wanted)
{
	if (wanted->place >= MMAP_TESTBED_NR_GATES ||
	    wanted->limit_ms > MAX_LIMIT_MS)
		return -EINVAL;
	spin_lock(&gate_lock);
	gate.place = wanted->place;
	gate.limit = msecs_to_jiffies(wanted->limit_ms);
	gate.taken = gate.open = false;
	spin_unlock(&gate_lock);
	return 0;
}

static bool gate_take(enum mmap_testbed_gate_place place, unsigned long *limit)
{
	bool mine;

	spin_lock(&gate_lock);
	mine = gate.place == place && !gate.taken && !gate.open;
	gate.taken |= mine;
	*limit = gate.limit;
	spin_unlock(&gate_lock);
	return mine;
}

void gate_pass(enum mmap_testbed_gate_place place)
{
	unsigned long limit;

	if (!gate_take(place, &limit))
		return;
	wake_up_all(&gate_queue);
	wait_event_killable_timeout(gate_queue, READ_ONCE(gate.open), limit);
}

/* Returns 1 once a hook waits or has waited, and 0 after @ms without one. */
int gate_await(unsigned long ms)
{
	unsigned long limit = msecs_to_jiffies(min(ms, MAX_LIMIT_MS));
	long left = wait_event_killable_timeout(gate_queue,
						READ_ONCE(gate.taken), limit);

	return left < 0 ? left : left > 0;
}

void gate_open(void)
{
	spin_lock(&gate_lock);
	gate.open = true;
	spin_unlock(&gate_lock);
	wake_up_all(&gate_queue);
}
