"""`python -m tools.stack`: brings stacks of this checkout up and down with Pulumi."""
