"""Assistants: prompts, and what a model gets in addition to the question."""
