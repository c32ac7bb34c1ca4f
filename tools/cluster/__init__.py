"""A real Kubernetes for the tests: the on-prem target makes it of nested machines, without an image registry."""
