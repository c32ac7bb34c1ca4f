# Makes this host what it was before Headrace; Kubernetes has left it.
[ -e "$state/before/done" ] || { rm -rf "$state"; exit 0; }
if [ -e "$state/before/images" ] && systemctl -q is-active containerd; then
  ctr --namespace k8s.io images list --quiet | while read -r image; do
    grep -qxF "$image" "$state/before/images" || ctr --namespace k8s.io images remove "$image" >/dev/null
  done
fi
for file in "$state"/original/* "$state"/absent/*; do
  [ -e "$file" ] || [ -L "$file" ] || continue
  restore "$(decoded "${file##*/}")"
done
systemctl daemon-reload
while read -r unit enabled active; do
  [ -n "$(systemctl list-unit-files --no-legend "$unit.service")" ] || continue
  case $enabled:$active in
    *:active) systemctl restart "$unit" ;;
    enabled:* | disabled:* | static:* | masked:*) systemctl stop "$unit" ;;
  esac
  case $enabled in
    enabled | disabled) [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = "$enabled" ] || systemctl -q "${enabled%d}" "$unit" ;;
  esac
  systemctl -q reset-failed "$unit" 2>/dev/null || :
done <"$state/before/units"
if [ -s "$state/packages" ]; then
  sort -u "$state/packages" | DEBIAN_FRONTEND=noninteractive xargs dpkg --purge >&2
fi
while IFS= read -r line; do
  [ "$(sysctl -n "${line%%=*}" 2>/dev/null)" = "${line#*=}" ] || sysctl -qw "$line" 2>/dev/null || :
done <"$state/before/sysctl"
for module in br_netfilter overlay; do
  if grep -q "^$module " /proc/modules && ! grep -qx "$module" "$state/before/modules"; then
    modprobe -r "$module" 2>/dev/null || :
  fi
done
# Tables that iptables made: those that hold no rule.
if [ -e "$state/before/tables" ]; then
  nft list tables | while read -r line; do
    grep -qxF "$line" "$state/before/tables" && continue
    # shellcheck disable=SC2086
    set -- $line
    nft list table "$2" "$3" | grep -qvE '^(table .*|[[:space:]]*\}?|[[:space:]]*(chain|type) .*|#.*)$' ||
      nft delete table "$2" "$3"
  done
fi
while read -r path; do rm -rf "$path"; done <"$state/before/absent"
if [ -e "$state/folders" ]; then
  sort -r "$state/folders" | while read -r path; do rmdir "$path" 2>/dev/null || :; done
fi
rm -rf /run/headrace "$state"
