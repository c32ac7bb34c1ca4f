"""OpenAI's Responses: converts their input to a chat, and the answer to an object and its events."""
