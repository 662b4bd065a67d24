"""What scripts/bench measures, and how it shows it."""
