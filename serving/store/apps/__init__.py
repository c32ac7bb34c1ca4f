"""Stored state of apps."""
