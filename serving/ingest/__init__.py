"""Synchronises a collection with a folder of documents, using only the HTTP API: `python -m serving.ingest`.

The chart's Job runs it; the local stack's resource uses the same `reconcile`.
"""
