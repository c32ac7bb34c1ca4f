"""What a machine is: all of it that Kubernetes could leave something in, to compare before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.wait import last
from tools.machines.machine import Machine

LISTING = r"""
# Not compared: logs, content of images, what the system itself writes while it runs.
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log \
  -o -path /var/lib/containerd -o -path /var/lib/dpkg -o -path /var/backups -o -path /var/cache \
  -o -path /etc/ld.so.cache \
  -o -path /var/lib/systemd -o -path /var/lib/ucf -o -name 'systemd-private-*' \
  -o -path '/etc/systemd/system/*.wants' \) -prune -o -printf 'file %p %m %u %g %y %l\n'
find /var/lib/kubelet /var/lib/etcd /tmp -mindepth 1 ! -path '*/systemd-private-*' -printf 'file %p %m %y\n'
find /etc /usr/local /opt -xdev -type f ! -path /etc/ld.so.cache -exec sha256sum {} + | sed 's/^/content /'
ls -d /run/headrace /run/netns/* /run/xtables.lock 2>/dev/null | sed 's/^/run /'
iptables-save | sed -n 's/^\(-A\|:KUBE\|:CNI\)/rule &/p'; ip6tables-save | sed -n 's/^\(-A\|:KUBE\|:CNI\)/rule6 &/p'
nft list tables | sed 's/^/table /'
ipset list -name | sed 's/^/set /'
ip -oneline link | awk '{sub(/@.*/, "", $2); print "link", $2}'
ip -oneline -4 address | awk '{print "address", $2, $4}'
ip route show table all | grep -v '^local\|^broadcast' | sed 's/^/route /'; ip rule | sed 's/^/lookup /'
for key in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.route_localnet; do
  echo "sysctl $key $(sysctl -n $key)"; done
awk '{print "mount", $2}' /proc/mounts | grep -v 'systemd\|/run/user'
ps -eo comm= | sort -u | grep -vE '^(sshd|sh|ps|sort|grep|sed|awk|find|\(sd-pam\)|systemd)$' | sed 's/^/process /'
find /sys/fs/cgroup -type d -name 'kube*' | sed 's/^/group /'
ss -Hltn | awk '{print "port", $4}' | grep -v '127.0.0.1:[3-6]....$'  # containerd's is another each time
for unit in containerd kubelet keepalived; do
  echo "unit $unit $(systemctl is-enabled $unit 2>/dev/null) $(systemctl is-active $unit)"; done
ctr --namespace k8s.io images list --quiet | sed 's/^/image /'
"""


def listing(machine: Machine) -> frozenset[str]:
    """Everything of a machine that Kubernetes could leave something in."""
    return frozenset(machine.run(["sh", "-c", LISTING]).stdout.splitlines())


def listings(machines: Iterable[Machine]) -> dict[str, frozenset[str]]:
    """Of each machine, once it has started whole."""

    def settled(machine: Machine) -> frozenset[str]:
        machine.run(["systemctl", "is-system-running", "--wait"], check=False)
        return listing(machine)

    machines = tuple(machines)
    with ThreadPoolExecutor(len(machines)) as pool:
        return dict(zip((machine.name for machine in machines), pool.map(settled, machines), strict=True))


def differences(machine: Machine, before: Mapping[str, frozenset[str]]) -> tuple[list[str], list[str]]:
    """What a machine has more than before, and less; what just ends may take a minute for it."""
    then = before[machine.name]
    now = last(lambda: listing(machine), lambda now: now == then)
    return sorted(now - then), sorted(then - now)
