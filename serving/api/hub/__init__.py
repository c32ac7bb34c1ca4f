"""The model hub in a gateway."""
