"""Keeps a collection equal to a folder of documents, through the HTTP API alone: `python -m serving.ingest`.

The Job of the chart runs it; the local stack's own resource works with the same `reconcile`.
"""
