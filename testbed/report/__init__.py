"""What people look at: tables of a run, and of what differs between two."""
