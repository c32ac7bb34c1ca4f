"""Machines over SSH become a Kubernetes cluster, by kubeadm: the steps, each of which may be taken again."""
