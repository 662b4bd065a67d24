"""What all tests stand on."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background has them ignore SIGINT, and so whatever they
# start (signal(7)): a test that interrupts a child would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
