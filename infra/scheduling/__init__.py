"""Checks before a deployment whether the stack's pods fit on its nodes, and its replicas into its pods."""
