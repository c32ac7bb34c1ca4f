"""Basics for all packages: ids, principals, confinement of child processes."""
