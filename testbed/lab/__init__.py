"""Many kernels, many runs: what stands ready for the tests, and what became of it."""
