# What scripts that change a host have in common. What was there before is kept below $state, once.
state=/var/lib/headrace
encoded() { printf %s "$1" | sed 's|%|%25|g; s|/|%2F|g'; }
decoded() { printf %s "$1" | sed 's|%2F|/|g; s|%25|%|g'; }
keep() { # path: what is there, or that nothing is
  local name; name=$(encoded "$1")
  if [ -e "$state/original/$name" ] || [ -L "$state/original/$name" ] || [ -e "$state/absent/$name" ]; then return; fi
  mkdir -p "$state/original" "$state/absent"
  if [ -e "$1" ] || [ -L "$1" ]; then
    cp -a "$1" "$state/new.$$"
    sync "$state/new.$$" 2>/dev/null || :
    mv "$state/new.$$" "$state/original/$name"
  else
    : >"$state/absent/$name"
  fi
}
folder() { # path: made where it is not there, and noted
  [ -d "$1" ] && return
  folder "$(dirname "$1")"
  grep -qxF "$1" "$state/folders" 2>/dev/null || echo "$1" >>"$state/folders"
  mkdir -p "$1"
}
write() { # path mode, content on standard input: says `changed` where it was another
  cat >"$state/content.$$"
  if cmp -s "$state/content.$$" "$1" && [ "$(stat -c %a "$1")" = "$2" ]; then rm "$state/content.$$"; return; fi
  folder "$(dirname "$1")"
  keep "$1"
  chmod "$2" "$state/content.$$"
  # On another file system `mv` is no single step: the last one is in the file's own folder.
  cp -p "$state/content.$$" "$1.headrace-new"
  rm "$state/content.$$"
  mv -f "$1.headrace-new" "$1"
  echo changed
}
restore() { # path: as it was
  local name; name=$(encoded "$1")
  if [ -e "$state/original/$name" ] || [ -L "$state/original/$name" ]; then
    cp -a "$state/original/$name" "$1.headrace-new"
    mv -f "$1.headrace-new" "$1"
    rm -f "$state/original/$name"
  elif [ -e "$state/absent/$name" ]; then
    rm -f "$1"
    rm -f "$state/absent/$name"
  fi
}
