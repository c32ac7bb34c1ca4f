"""Messages: requests in Anthropic's shape are answered as chats, and the answers get that shape."""
