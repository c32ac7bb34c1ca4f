"""Security: callers, their permissions, and the audit log."""
