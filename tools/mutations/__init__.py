"""Mutation testing by a list: behaviours that are broken on purpose, and the tests that must fail."""
