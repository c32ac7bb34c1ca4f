"""Whether the stack's pods find room on its nodes, and its replicas in its pods, before anything is created."""
