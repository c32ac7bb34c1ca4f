"""Stored objects as the API shows them."""
