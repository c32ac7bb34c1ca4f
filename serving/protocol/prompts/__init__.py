"""Prompts that tenants store: their template, and the requests about them."""
