"""The cost of counting, logging and tracing requests, and of reading the counters."""

ASSISTANT = "relay"
"""The assistant of the measured gateways."""
