"""A session of tests: the pytest plugin, and what it makes of each test."""
