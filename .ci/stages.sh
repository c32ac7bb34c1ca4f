# Stages of .ci/run and .ci/full: one after the other, each with an exit status of its own.
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # as the Makefile does, and says why

folder=$(mktemp -d)
export HEADRACE_FLAKY=$folder/flaky
touch "$HEADRACE_FLAKY" "$folder/times"
trap 'end $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# end STATUS: ends what was begun beside the stages, and says how the run ended.
end() {
  trap - EXIT
  for job in $(jobs -p); do kill -TERM "$job" 2>/dev/null || true; done
  wait
  (($1 == 0)) || [[ ! -s $folder/beside ]] || { echo '== beside'; cat "$folder/beside"; }
  cat "$folder/times"
  sed 's/^/flaky: /' "$HEADRACE_FLAKY"
  echo "== $([[ $1 = 0 ]] && echo passed || echo "failed with status $1${stage:+ in the stage $stage}") after $SECONDS s"
  rm -rf "$folder"
  exit "$1"
}

# stage STATUS NAME COMMAND...: runs a command; if it fails, the run ends with this status. A caller that ignores
# interruptions must not make the tests ignore those that they send.
stage() {
  local began=$SECONDS status=0
  stage=$2
  echo "== $2: ${*:3}"
  env --default-signal=INT,QUIT "${@:3}" </dev/null || status=$?
  printf '%6d s  %s\n' $((SECONDS - began)) "$2" | tee -a "$folder/times"
  ((status == 0)) || exit "$1"
  stage=
}

# beside COMMAND...: begins a command beside the stages that follow; its output is shown if the run fails.
beside() {
  env --default-signal=INT,QUIT "$@" </dev/null >>"$folder/beside" 2>&1 &
}
