"""Files in messages: read, shown to models, and searched for quotes."""
