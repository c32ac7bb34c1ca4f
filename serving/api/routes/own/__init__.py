"""Routes about what belongs to the caller alone."""
