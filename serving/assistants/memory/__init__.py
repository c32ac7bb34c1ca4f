"""What an assistant is shown again of what was said before, and what it keeps of it."""
