"""What apps keep between their steps."""
