# Takes away what `kubeadm reset` leaves, and nothing that is not Kubernetes'. $1: the range of pods.
systemctl disable -q --now kubelet 2>/dev/null || :
systemctl -q reset-failed kubelet 2>/dev/null || :
rm -rf /etc/cni/net.d/10-kuberouter.conflist /etc/cni/net.d/.new /var/lib/cni /var/log/pods /var/log/containers
rm -rf /etc/kubernetes /var/lib/kube-router ~root/.kube/cache
for folder in /var/lib/kubelet /var/lib/etcd; do
  [ -d $folder ] && find $folder -xdev -mindepth 1 -delete
done
# kube-router's three rules of the chain FORWARD have names of their own.
ours='KUBE-|CNI-|pod-egress|kube-bridge|"allow outbound node port traffic on node interface'
for family in iptables ip6tables; do
  saved=$($family-save 2>/dev/null) || continue
  echo "$saved" | grep -qE "$ours" || continue
  echo "$saved" | grep -vE "$ours" | $family-restore
done
sets=$(ipset list -name 2>/dev/null | grep -E '^(inet6:)?(kube-router-|KUBE-)' || :)
for set in $sets; do ipset flush "$set"; done
for set in $sets; do ipset destroy "$set"; done
for link in kube-bridge kube-dummy-if; do ip link delete $link 2>/dev/null || :; done
# kube-router's routes are of BGP's protocol number in the kernel, zebra's.
ip route flush root "$1" proto 17 2>/dev/null || :
systemctl -q stop kubepods.slice 2>/dev/null || :
for group in /sys/fs/cgroup/kubepods* /sys/fs/cgroup/*/kubepods*; do
  [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
done
rm -f "$state/member"
