# Installs packages: of the names given, by apt, or those whose files lie in /run/headrace/packages where none is.
# Each is noted before it is installed: an installation that is cut is undone all the same.
export DEBIAN_FRONTEND=noninteractive
installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' | sed -n 's/ installed$//p')
note() {
  echo "$installed" | grep -qx "$1" || grep -qx "$1" "$state/packages" 2>/dev/null || echo "$1" >>"$state/packages"
}
if [ $# -gt 0 ]; then
  apt-get update -qq
  for name in $(apt-get install -qq --simulate --no-install-recommends "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p'); do
    note "$name"
  done
  apt-get install -qq -y --no-install-recommends "$@" >&2
  exit 0
fi
cd /run/headrace/packages
for file in *.deb; do
  name=$(dpkg-deb --field "$file" Package)
  note "$name"
  # An older one is updated, since others of the bundle may need the newer.
  if echo "$installed" | grep -qx "$name" && dpkg --compare-versions \
    "$(dpkg-query --show --showformat='${Version}' "$name")" ge "$(dpkg-deb --field "$file" Version)"; then
    rm "$file"
  fi
done
dpkg --install --force-confold ./*.deb >&2
rm -rf /run/headrace/packages
