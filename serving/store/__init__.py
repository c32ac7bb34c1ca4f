"""State: rows, files and jobs."""
