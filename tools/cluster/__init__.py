"""A real Kubernetes for the tests: two nested machines, made a cluster by kubeadm, without an image registry."""
