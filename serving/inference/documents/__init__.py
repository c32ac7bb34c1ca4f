"""Documents behind answers: what is searched, quoted and cited, and what becomes of text without support."""
