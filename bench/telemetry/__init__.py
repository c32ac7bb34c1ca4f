"""What it costs that requests are counted, logged and traced, and that the counters are read."""

ASSISTANT = "relay"
"""That the measured gateways have."""
