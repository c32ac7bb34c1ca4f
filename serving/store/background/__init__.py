"""What is answered while nobody waits: single responses, and batches."""
