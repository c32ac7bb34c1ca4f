"""What gateways answer while nobody waits: jobs that run requests through the pipeline."""
