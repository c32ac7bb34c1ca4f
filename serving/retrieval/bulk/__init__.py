"""Loads many documents into a collection beside the API: read and embedded by Ray Data, committed in batches."""
