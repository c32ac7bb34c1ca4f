"""Checks of texts: pure functions from a text to what they find in it. Nothing here does I/O."""
