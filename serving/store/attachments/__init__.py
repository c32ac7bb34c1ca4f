"""Files in vector stores: how they are put there, one by one or many at once."""
