"""The HTTP API, compatible with OpenAI's: the only package that knows HTTP."""
