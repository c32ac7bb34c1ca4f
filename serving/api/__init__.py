"""The HTTP surface, OpenAI-compatible: the only room that knows HTTP."""
