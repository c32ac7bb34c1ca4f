"""Runs of apps: their input, their requests to the platform, and their end."""
