#!/bin/sh
# The `headrace` command, which `make venv` puts beside the environment's Python; also through a link, from any folder.
exec "$(dirname "$(readlink -f "$0")")/python" -P -m serving.cli "$@"
