"""Assistants: prompts, and what a model is given beside the question."""
