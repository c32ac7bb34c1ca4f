"""Requests and errors of the API, independent of HTTP."""
