#!/bin/sh
# The HAProxy of a stack on one host, as Ray Serve calls it: with one path and without a choice of Python.
exec "$HEADRACE_PYTHON" -m serving.loopback_haproxy "$@"
