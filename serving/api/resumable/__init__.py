"""Streams that outlive their caller's connection."""
