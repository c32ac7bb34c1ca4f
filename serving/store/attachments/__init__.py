"""Attachments of files to vector stores, one at a time or in batches."""
