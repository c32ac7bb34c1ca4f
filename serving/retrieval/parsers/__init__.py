"""One reader per file kind; each is imported only when a file of its kind comes."""
