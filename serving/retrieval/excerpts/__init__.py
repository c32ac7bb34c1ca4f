"""Excerpts of documents: those of a prompt, and those that are quoted as an answer."""
