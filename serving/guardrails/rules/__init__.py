"""Guardrails without a model: words, personal data, secrets, links and injections, found by rules."""
