"""Guardrails: checks of the input and output of models and tools."""
