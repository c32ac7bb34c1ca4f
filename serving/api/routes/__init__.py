"""The handlers, one module for each resource; no route calls another."""
