"""The Model Context Protocol on the wire: its messages, the arguments of its tools, and its errors."""
