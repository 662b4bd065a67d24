"""The subject: what is asked of a mapping, and what must be true of it."""
