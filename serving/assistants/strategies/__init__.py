"""Reasoning strategies: chain of thought, programs, tools, votes."""
