"""Turns hosts into a Kubernetes cluster by kubeadm, over SSH. Every step can be repeated after an interruption."""
