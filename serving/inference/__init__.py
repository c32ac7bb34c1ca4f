"""Inference: the pipeline from a request to its answer, stage by stage."""
