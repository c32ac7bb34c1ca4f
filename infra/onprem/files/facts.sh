# Prints facts about this host, one a line as name=value; changes nothing. Arguments: ports that must be free.
say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
. /etc/os-release
say os "$ID $VERSION_ID"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say hostname "$(hostname)"
say resolves "$(getent hosts "$(hostname)" >/dev/null && echo yes || echo no)"
say init "$(cat /proc/1/comm)"
say cgroups "$(stat -fc %T /sys/fs/cgroup)"
for c in cpu cpuset memory pids; do
  grep -qw "$c" /sys/fs/cgroup/cgroup.controllers 2>/dev/null || [ -d "/sys/fs/cgroup/$c" ] || say no_controller "$c"
done
say swap "$(sed 1d /proc/swaps | cut -d' ' -f1 | tr '\n' ' ')"
say clock "$(date +%s.%N)"
say memory_mib "$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))"
say cpus "$(nproc)"
say disk_mib "$(df -Pm /var/lib | awk 'END {print $4}')"
for m in overlay br_netfilter; do
  case $m in
    overlay) grep -qw overlay /proc/filesystems && continue ;;
    br_netfilter) [ -e /proc/sys/net/bridge ] && continue ;;
  esac
  modprobe -n "$m" 2>/dev/null || say no_module "$m"
done
for p in containerd ctr runc iptables ipset conntrack ethtool ip mount modprobe sysctl flock curl; do
  has "$p" || say no_program "$p"
done
for d in /opt/cni/bin /usr/lib/cni; do [ -x "$d/bridge" ] && [ -x "$d/portmap" ] && say plugins "$d" && break; done
has containerd && say containerd "$(containerd --version | awk '{print $3}')"
has keepalived && say keepalived yes
has apt-get && say apt yes
has dpkg && say dpkg yes
has nvidia-smi && say gpus "$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)"
has nvidia-container-runtime && say nvidia_runtime yes
(echo -999 >/proc/self/oom_score_adj) 2>/dev/null && say lowers_oom_score yes
say nameservers "$(sed -n 's/^nameserver *//p' /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null | tr '\n' ' ')"
[ -r /var/lib/headrace/owner ] && say owner "$(cat /var/lib/headrace/owner)"
for f in /etc/kubernetes/kubelet.conf /etc/kubernetes/admin.conf /var/lib/kubelet/config.yaml /etc/rancher; do
  [ -e "$f" ] && say kubernetes "$f"
done
if has ss; then
  listening=$(ss -Hltn | awk '{print $4}' | sed 's/.*://')
  for p in "$@"; do echo "$listening" | grep -qx "$p" && say taken "$p"; done
fi
exit 0
