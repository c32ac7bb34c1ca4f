"""Runs of apps: what they are asked, what they may ask meanwhile, and how they end."""
