"""Conversations that people share within their tenant: snapshots, and who may read what they were made from."""
