# Notes what this host is before Headrace changes it, once. $1: the stack that it belongs to from now on.
umask 077
mkdir -p "$state"
if [ -e "$state/owner" ] && [ "$(cat "$state/owner")" != "$1" ]; then
  echo "it belongs to stack '$(cat "$state/owner")'" >&2
  exit 1
fi
[ -e "$state/before/done" ] && exit 0
rm -rf "$state/before"
mkdir -p "$state/before"
for list in absent modules sysctl units; do : >"$state/before/$list"; done
printf %s "$1" >"$state/owner"
# What the kubelet, kube-proxy and kube-router set, beside what we set.
for key in net.ipv4.ip_forward net.ipv4.conf.all.route_localnet net.ipv4.conf.all.rp_filter \
  net.ipv4.conf.default.rp_filter net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables \
  net.ipv4.ip_nonlocal_bind net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce net.ipv6.conf.all.forwarding \
  vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys \
  kernel.keys.root_maxbytes; do
  value=$(sysctl -n "$key" 2>/dev/null) && echo "$key=$value" >>"$state/before/sysctl"
done
for unit in containerd kubelet keepalived; do
  echo "$unit $(systemctl is-enabled $unit 2>/dev/null || :) $(systemctl is-active $unit 2>/dev/null || :)" >>"$state/before/units"
done
for module in overlay br_netfilter; do
  grep -q "^$module " /proc/modules && echo "$module" >>"$state/before/modules"
done
if command -v nft >/dev/null 2>&1; then nft list tables >"$state/before/tables" 2>/dev/null || :; fi
if command -v ctr >/dev/null 2>&1; then ctr --namespace k8s.io images list --quiet >"$state/before/images" 2>/dev/null || :; fi
for path in /etc/cni/net.d /etc/cni /etc/kubernetes /var/lib/kubelet /var/lib/etcd /var/lib/cni /var/lib/kube-router \
  /var/lib/containerd /var/log/pods /var/log/containers /usr/libexec/kubernetes ~root/.kube /opt/headrace \
  /etc/containerd /opt/containerd /lib/modules /run/xtables.lock; do
  [ -e "$path" ] || echo "$path" >>"$state/before/absent"
done
sync
: >"$state/before/done"
