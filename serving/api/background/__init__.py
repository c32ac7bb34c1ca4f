"""Work of gateways in the background: jobs that run requests through the pipeline."""
