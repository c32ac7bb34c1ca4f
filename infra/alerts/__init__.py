"""Alerts and objectives of a stack's own operators."""
