"""Rated completions as training data: rows of a documented format, in files with a manifest."""
