"""Quotas as values: limits, and the windows of time that they hold for."""
