"""Routes of the model hub."""
