"""Routes in the shape of Anthropic's API."""
