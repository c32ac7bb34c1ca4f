"""Checks of what is said to a model, by a model, and to tools."""
