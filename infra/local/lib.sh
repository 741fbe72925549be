# Shared by up, down, status, env and proof; sourced, never run.
#
# A server is the process whose program is the right one and whose command line names its own file or folder below target/local.
# There is no pid file, so none can be stale: a pid that was given to a stranger is never taken for ours, and a server whose
# folder was removed (`cargo clean`) is still found.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
base=$root/target/local
host=127.0.0.1
servers=(redis postgres clickhouse kafka)
# Started only when they are named.
extra_servers=(registry)

. "$here/versions"
. "$here/install.sh"
for server_file in "$here"/servers/*.sh; do . "$server_file"; done

say() { printf '%s\n' "$*"; }
warn() { printf 'infra/local/%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { warn "$@"; exit 1; }
short() { printf '%s' "${1#"$root"/}"; }
have() { command -v "$1" >/dev/null 2>&1; }

# The comment at the top of a script is its help.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

is_server() { case " ${servers[*]} ${extra_servers[*]} " in *" $1 "*) ;; *) return 1 ;; esac; }

is_extra() { case " ${extra_servers[*]} " in *" $1 "*) ;; *) return 1 ;; esac; }

# Keeps two runs in one checkout apart. File descriptor 9 is closed in every server, else the lock would live as long as it.
take_lock() {
    mkdir -p "$base"
    exec 9>"$base/lock"
    flock -w 900 9 || fail "another up or down has been at work for 15 minutes; see target/local"
}

# pid_of SERVER: of the oldest process that is this server; a child that PostgreSQL has just forked looks the same for a moment.
pid_of() {
    local program mark pid args name when oldest='' oldest_born=''
    program=$("$1_program") mark=$("$1_mark")
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [[ $name == "$program"* ]] || continue
        args=$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null) || continue
        [[ $args == *"$mark"* ]] || continue
        when=$(born "$pid") || continue
        if [ -z "$oldest" ] || [ "$when" -lt "$oldest_born" ]; then oldest=$pid oldest_born=$when; fi
    done
    [ -n "$oldest" ] && printf '%s' "$oldest"
}

# Clock ticks after boot at which a process began.
born() {
    local stat fields
    stat=$({ cat "/proc/$1/stat"; } 2>/dev/null) || return 1
    read -r -a fields <<<"${stat##*) }"
    printf '%s' "${fields[19]}"
}

# spawn SERVER COMMAND…: in a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it. Sets `spawned`.
spawn() {
    local server=$1
    shift
    setsid "$@" </dev/null >>"$base/$server/log" 2>&1 9>&- &
    spawned=$!
    disown
}

# await SECONDS COMMAND…: tries until it succeeds.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.2
    done
}

listens() { (exec 3<>"/dev/tcp/$host/$1") 2>/dev/null; }

# choose_port NAME DEFAULT: the port of last time or the default; the next free one when a stranger has it. Kept in NAME.
choose_port() {
    local file=$1 port
    port=$(cat "$file" 2>/dev/null || printf '%s' "$2")
    while listens "$port"; do port=$((port + 10)); done
    printf '%s\n' "$port" >"$file"
}

port_of() { cat "$base/$1/port" 2>/dev/null; }

# One password for all of them, made here: nothing has a default one, and loopback is open to every user of the machine.
password() {
    if [ ! -s "$base/password" ]; then
        mkdir -p "$base"
        (umask 077 && printf 'local-%s\n' "$(head -c 24 /dev/urandom | base64 | tr -dc 'A-Za-z0-9')" >"$base/password")
    fi
    cat "$base/password"
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
