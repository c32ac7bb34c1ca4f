"""The targets that a stack can run on, one module or package each; all of them return a `Target`."""
