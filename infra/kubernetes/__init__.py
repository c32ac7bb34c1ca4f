"""Access to a Kubernetes cluster: kubeconfigs, its API, and pods."""
