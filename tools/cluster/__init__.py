"""A real Kubernetes for the tests: the on-prem target creates it on nested machines, without an image registry."""
