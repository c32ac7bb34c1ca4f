"""Maintenance of the store: backups, retention, and removal of deleted data from disk."""
