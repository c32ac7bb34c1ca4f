"""Routes of shared conversations."""
