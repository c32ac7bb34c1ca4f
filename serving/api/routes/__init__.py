"""The handlers, one module per resource; routes do not call each other."""
