#!/bin/bash
# Runs before a worker pod ends: Serve moves the pod's replicas to other nodes, and running requests may finish.
# First argument: maximum number of seconds to wait.
limit=$1
SECONDS=0

# Whether the head could not be reached 20 times in a row, as when the whole cluster is being deleted.
away=0
headless() {
  [[ -n ${RAY_ADDRESS-} ]] || return 1
  if timeout 2 bash -c ": </dev/tcp/${RAY_ADDRESS%:*}/${RAY_ADDRESS##*:}" 2>/dev/null; then
    away=0
  else
    away=$((away + 1))
  fi
  ((away >= 20))
}

# Serve starts replacements on other nodes. A replica here serves on until its own is there, or until its shutdown time
# (600 s: DRAIN_S in serving/config/serve_document.py) is all that is left before the deadline: only then is nothing new sent to it.
# Without a head (the whole cluster is being deleted) nobody starts replacements, and Ray would try to reach it for all of the 30 s.
move=$((limit / 5))
timeout 30 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "the pod is being deleted" \
  --deadline-remaining-seconds "$((move + 600))" >/dev/null 2>&1 &
request=$!
while [[ $(jobs -pr) ]] && ! headless; do
  sleep 1
done
kill "$request" 2>/dev/null
wait "$request" || move=0

# The Service's endpoints change at the same time as this runs, and reach every node within seconds.
sleep 5

# The ports of gateway replicas, as /proc writes them.
printf -v low %04X "$RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"
printf -v high %04X "$RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"

# What gateways of this pod work on, leases of its models, and what came in here for gateways of other pods: connections
# of HAProxy to their replicas. Its metrics would not do: they know nothing of an earlier HAProxy's streams. Connections
# that are kept for a next request are no reason to stay: clients' are none of these, and HAProxy says how many its own
# are. It is asked last, so that a request which ends meanwhile counts as ended.
busy() {
  local connections
  wget --tries 1 -T 30 -q -O- http://127.0.0.1:9464/metrics |
    awk '/^headrace_(requests_in_flight|engine_leases)[ {]/ {n += $NF} END {exit !(n > 0)}' && return 0
  connections=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v low="$low" -v high="$high" '
    $4 == "01" {port = substr($3, length($3) - 3); if (port >= low && port <= high) n++}
    END {print n + 0}')
  ((connections > 0)) && ((connections > $(kept)))
}

# HAProxy's connections to replicas that wait for a next request; 0 if it does not answer.
kept() {
  python3 -S - 2>/dev/null <<'EOF' || echo 0
import glob, os, socket
low, high = (int(os.environ[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
total = 0
for path in glob.glob(os.path.dirname(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"]) + "/*/admin.sock"):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(2)
        s.connect(path)
        s.sendall(b"show servers conn\n")
        head, *rows = (line.split() for line in s.makefile() if line.strip())
    port, idle = head.index("port") - 1, head.index("idle_cur") - 1
    total += sum(int(row[idle]) for row in rows if low <= int(row[port]) <= high)
print(total)
EOF
}

replicas() {
  grep -qsa '^ray::ServeReplica' /proc/[0-9]*/cmdline
}

while ((SECONDS < limit)) && { { ((SECONDS < move)) && replicas && ! headless; } || busy; }; do
  sleep 1
done
