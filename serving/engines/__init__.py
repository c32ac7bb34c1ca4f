"""Models as OpenAI-compatible endpoints: which one answers, and the client that asks it."""
