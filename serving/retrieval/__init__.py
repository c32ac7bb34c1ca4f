"""Retrieval: parsing, chunking, embedding, search and citations."""
