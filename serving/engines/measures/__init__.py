"""What the gateway and replicas measure of engines: failures by cause, and how long requests hold replicas."""
