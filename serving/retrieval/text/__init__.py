"""Words, sentences and tokens of documents and questions."""
