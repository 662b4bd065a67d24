"""What a run found, and its file formats."""
