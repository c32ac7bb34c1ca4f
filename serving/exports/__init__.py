"""Exports: rated completions as training data, in documented formats and with a manifest."""
