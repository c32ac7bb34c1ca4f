"""The relational database, on SQLite or PostgreSQL."""
