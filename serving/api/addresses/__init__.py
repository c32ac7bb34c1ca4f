"""The addresses of a request: where its caller is, and by which name it reached the stack."""
