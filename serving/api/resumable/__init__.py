"""Resumable streams, which outlive their caller's connection."""
