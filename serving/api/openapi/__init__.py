"""The OpenAPI document, generated from the operations."""
