"""Resources: what the provider `headrace` declares, the base of its providers, and what a target is asked for."""
