"""Loads many documents into a collection without the API: Ray Data reads and embeds them, and batches are committed."""
