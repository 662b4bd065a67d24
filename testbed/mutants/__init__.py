"""Known-bad kernels, and whether the tests catch them."""
