"""OpenAI's Responses: from their input to a chat, and back as an object and its events."""
