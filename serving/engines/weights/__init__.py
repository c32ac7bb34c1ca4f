"""Weights of models that replicas fetch from the Hugging Face Hub or a bucket, into a folder that replicas share."""
