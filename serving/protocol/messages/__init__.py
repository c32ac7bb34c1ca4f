"""Requests and errors in the shape of Anthropic's Messages API."""
