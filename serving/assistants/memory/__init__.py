"""Memory: which earlier messages an assistant's model gets, and what the assistant remembers."""
