# PostgreSQL, with role and database `trunkline`. It refuses to run as root, so root hands it to another user.

postgres_program() { printf 'postgres'; }
postgres_mark() { printf '%s' "-D $base/postgres/data-"; }
postgres_url() { printf 'postgres://trunkline:%s@%s:%s/trunkline' "$(password)" "$host" "$(port_of postgres)"; }

# The folder of programs of the newest one that is new enough, the system's before ours.
postgres_bin() {
    local bin in_path best='' best_major=0 major
    in_path=$(command -v postgres 2>/dev/null || true)
    for bin in "$unpacked"/usr/lib/postgresql/*/bin /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "${in_path%/*}"; do
        { [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] && [ -x "$bin/psql" ]; } || continue
        major=$(postgres_major_of "$bin")
        if [ "${major:-0}" -ge "$postgres_major" ] && [ "$major" -ge "$best_major" ]; then best=$bin best_major=$major; fi
    done
    [ -n "$best" ] && printf '%s' "$best"
}

postgres_major_of() { with_libraries "$1/postgres" --version 2>/dev/null | grep -oE '[0-9]+' | head -n 1; }

# Debian releases name one major each; this release's may be newer than the least that we need.
postgres_package() {
    if apt-cache show "postgresql-$postgres_major" >/dev/null 2>&1; then
        printf 'postgresql-%s' "$postgres_major"
    else
        apt-cache depends postgresql 2>/dev/null | awk '/Depends: postgresql-[0-9]+$/ { print $2; exit }'
    fi
}

postgres_missing() {
    local package
    postgres_bin >/dev/null && return
    need_apt postgresql
    package=$(postgres_package)
    package=${package:-postgresql-$postgres_major}
    plan_unpack+=("$package" "${package/postgresql-/postgresql-client-}")
}

postgres_version() { with_libraries "$(postgres_bin)/postgres" --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1; }

# The words before a command that make it run as a user who may run PostgreSQL.
postgres_as() {
    [ "$(id -u)" -eq 0 ] || return 0
    local user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    have setpriv || fail "PostgreSQL refuses to run as root, and setpriv (util-linux) is not here to hand it to $user"
    printf '%s\n' setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups
    # A checkout in root's home is closed to others. Reading through closed folders is the one right it is then given; the
    # secure bit makes access(2), which initdb asks about its own programs, see that right too.
    if ! setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups test -x "$base/postgres" 2>/dev/null; then
        printf '%s\n' --securebits +no_setuid_fixup --inh-caps +dac_read_search --ambient-caps +dac_read_search
    fi
}

postgres_start() {
    local bin data as
    bin=$(postgres_bin)
    data=$base/postgres/data-$(postgres_major_of "$bin")
    mkdir -p "$base/postgres"
    choose_port "$base/postgres/port" 15432
    mapfile -t as < <(postgres_as)
    [ -s "$data/PG_VERSION" ] || postgres_init "$bin" "$data" "${as[@]}"
    # No socket file: it would lie in a folder that all checkouts of this machine share.
    spawn postgres "${as[@]}" env "$(libraries)" LC_ALL=C "$bin/postgres" -D "$data" \
        -c "listen_addresses=$host" -c "port=$(port_of postgres)" -c unix_socket_directories= -c timezone=UTC -c log_timezone=UTC
}

postgres_init() {
    local bin=$1 data=$2 secret=$base/postgres/initial-password
    shift 2
    rm -rf "$data"
    mkdir -m 0700 "$data"
    (umask 077 && password >"$secret")
    [ $# -eq 0 ] || chown "$(postgres_owner "$@")" "$data" "$secret"
    with_libraries "$@" env LC_ALL=C "$bin/initdb" -D "$data" -U trunkline -A scram-sha-256 --pwfile="$secret" \
        -E UTF8 --locale=C --no-instructions >>"$base/postgres/log" 2>&1 ||
        { rm -rf "$data" "$secret"; tail -n 5 "$base/postgres/log" >&2; fail "initdb failed: see $(short "$base/postgres/log")"; }
    rm -f "$secret"
}

# The user among the words of postgres_as.
postgres_owner() { printf '%s' "$3"; }

postgres_psql() {
    local database=$1
    shift
    PGPASSWORD=$(password) PGCONNECT_TIMEOUT=5 with_libraries "$(postgres_bin)/psql" -X -q -At -v ON_ERROR_STOP=1 \
        -h "$host" -p "$(port_of postgres)" -U trunkline -d "$database" "$@"
}

postgres_healthy() {
    postgres_psql trunkline -c 'select 1' >/dev/null 2>&1 && return
    # First start: the server is there, the database is not.
    postgres_psql postgres -c 'create database trunkline' >/dev/null 2>&1
}

# Fast: open sessions are ended, the data is written.
postgres_stop_signal() { printf 'INT'; }

postgres_env() {
    say "export TRUNKLINE__CDR__STORE='postgres'"
    say "export TRUNKLINE__CDR__POSTGRES__URL='$(postgres_url)'"
}
