"""Shared conversations: what answers were made from, and what of them a reader sees."""
