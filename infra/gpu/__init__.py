"""Accelerators, and whether a model fits them."""
