#!/bin/sh
# Starts PostgreSQL in $PGDATA, which must be a folder of a volume; makes the database there first, if there is none.
# POSTGRES_PASSWORD_FILE names a file with the password of the user postgres; POSTGRES_DB a database to make.
# Arguments go to the server. /tmp must be writable.
set -eu
: "${POSTGRES_PASSWORD_FILE:?names the file that holds the password}"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  new="$PGDATA.new"
  rm -rf "$new"
  initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth=scram-sha-256 --pwfile="$POSTGRES_PASSWORD_FILE"
  echo "host all all all scram-sha-256" >> "$new/pg_hba.conf"
  if [ -n "${POSTGRES_DB:-}" ]; then
    echo "CREATE DATABASE \"$POSTGRES_DB\";" | postgres --single -D "$new" postgres
  fi
  mv "$new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off "$@"
