"""Nodes and scheduling: accelerators, machines and their prices, node pools, and what fits on them."""
