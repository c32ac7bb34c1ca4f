"""EmbedderRegistry: models that turn texts into vectors."""
