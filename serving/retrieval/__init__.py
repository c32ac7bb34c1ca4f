"""Parse, chunk, embed, search, cite."""
