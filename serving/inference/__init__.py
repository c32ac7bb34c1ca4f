"""The way from a request to its answer: a pipeline, stage by stage."""
