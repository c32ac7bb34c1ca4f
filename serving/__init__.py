"""What runs: the Ray Serve application."""
