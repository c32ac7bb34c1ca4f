"""Metering: charges requests to quotas, and records usage and cost."""
