"""The Pulumi program: settings, their checks, and the resources of a stack on each target."""
