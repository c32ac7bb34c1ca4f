"""Prompts that tenants store, with versions that never change and labels that move between them."""
