"""Background work: responses and batches that no caller waits for."""
