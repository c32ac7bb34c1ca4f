"""Answers from documents: search, quotes, citations, and the handling of unsupported text."""
