"""Backups, retention, and what deleted data leaves on disk."""
