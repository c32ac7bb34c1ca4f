"""Compares models, aliases, assistants and prompts by suites."""
