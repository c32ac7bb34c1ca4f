"""Apps: the operator's own chains, agents and functions, each in a child process of its replicas."""
