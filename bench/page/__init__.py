"""The web page in a real browser: what its first load sends, how soon it can be used, and how it bears long chats."""
