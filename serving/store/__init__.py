"""The store: relational rows, files, jobs and backups."""
