# The processes of infra/local/platform; sourced by it. A process is recognised by its settings file, as a server is by its folder.

for process in "${processes[@]}"; do
    eval "${process}_program() { printf trunkline; }"
    eval "${process}_mark() { printf ' %s --config %s ' $process \"\$settings\"; }"
done
started=()

port() { cat "$folder/ports/$1"; }

# Chosen once and kept, so that a restarted process is found where it was.
platform_ports() {
    local at=${#folder} wanted
    mkdir -p "$folder/ports"
    # Platforms of other names begin elsewhere: two that start at once would not see one another's ports yet.
    wanted=$((20000 + ($(printf '%s' "$folder" | cksum | cut -d ' ' -f 1) % 400) * 30))
    for at in page edge engine cdr analytics capacity fraud api trunks nodes north south transit \
        sip-1 sip-2 sip-3 esl-1 esl-2 esl-3; do
        [ -s "$folder/ports/$at" ] || choose_port "$folder/ports/$at" "$wanted"
        wanted=$((wanted + 1))
    done
}

platform_settings() {
    local node secret
    platform_ports
    if [ ! -d "$folder/keys" ]; then
        (umask 077 && mkdir -p "$folder/keys" && head -c 32 /dev/urandom >"$folder/keys/$(date +%Y%m%d)")
    fi
    secret=$folder/esl-password
    [ -s "$secret" ] || (umask 077 && printf 'Example-esl-%s\n' "$(head -c 12 /dev/urandom | base64 | tr -dc 'A-Za-z0-9')" >"$secret")
    (umask 077 && cat >"$settings") <<TOML
# Made by infra/local/platform; written again at its next start.
data_dir = "$folder/data"
run_dir = "$run_dir"

[identity]
keys_dir = "$folder/keys"

[stream]
adapter = "kafka"
topic_prefix = "$prefix"

[stream.kafka]
bootstrap = "$(kafka_bootstrap)"

[cdr]
store = "postgres"

[cdr.postgres]
url = "postgres://trunkline@$host:$(port_of postgres)/trunkline"
password_file = "$base/password"
schema = "$store"

[analytics.clickhouse]
url = "$(clickhouse_url)"
database = "$store"
user = "default"
password = "$(password)"

[api]
bind = "$host:$(port page)"

[engine]
agent_number = "+49221558001"

[edge]
id = "edge-1"

[[edge.listeners]]
id = "trunks"
side = "trunk"
bind = "$host:$(port trunks)"

[[edge.listeners]]
id = "nodes"
side = "node"
bind = "$host:$(port nodes)"

[[edge.trunks]]
id = "north"
sources = ["$host:$(port north)"]

[[edge.trunks]]
id = "south"
sources = ["$host:$(port south)"]

[[edge.trunks]]
id = "transit"
sources = ["$host:$(port transit)"]
address = "$host:$(port transit)"

[[edge.routes]]
prefix = ""
trunks = ["transit"]
$(for node in 1 2 3; do
        printf '\n[[edge.nodes]]\nid = "fs-%s"\naddress = "%s:%s"\n' "$node" "$host" "$(port "sip-$node")"
        printf '\n[[engine.nodes]]\nid = "fs-%s"\naddress = "%s:%s"\npassword = "%s"\n' "$node" "$host" "$(port "esl-$node")" "$(cat "$secret")"
    done)
TOML
}

# The caller's own settings must not reach our processes.
clean_environment() { env $(compgen -e | grep '^TRUNKLINE__' | sed 's/^/-u /') "$@"; }

# platform_run "COMMAND WORDS": a command that ends.
platform_run() {
    local said
    # shellcheck disable=SC2086
    said=$(clean_environment "$binary" $1 --config "$settings" 2>&1 8>&-) || { say "$said" >&2; fail "trunkline $1 failed (above)"; }
    say "$1: $(tail -n 1 <<<"$said")"
}

# platform_start PROCESS ARGUMENTS…
platform_start() {
    local process=$1 pid words=()
    shift
    if pid=$(pid_of "$process"); then
        say "$process: already running, pid $pid"
        return
    fi
    mkdir -p "$folder/$process"
    [ "$process" = simulate ] || words=("TRUNKLINE__ADMIN__BIND=$host:$(port "$process")")
    # The end of the settings' name is followed by a blank: the mark is found whether or not more words follow.
    (
        exec 8>&- 9>&-
        mapfile -t unset_words < <(compgen -e | grep '^TRUNKLINE__' | sed 's/^/--unset=/')
        exec setsid env "${unset_words[@]}" "${words[@]}" "$binary" "$process" --config "$settings" "$@" \
            </dev/null >>"$folder/$process/log" 2>&1
    ) &
    disown
    started+=("$process")
    say "$process: started, log $(short "$folder/$process/log")"
}

ready() { [ "$(exec 3<>"/dev/tcp/$host/$(port "$1")" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | cut -d ' ' -f 2)" = 200 ]; } 2>/dev/null

platform_ready() {
    local until=$((SECONDS + 90))
    until ready "$1"; do
        if ! pid_of "$1" >/dev/null || [ "$SECONDS" -ge "$until" ]; then
            # Not yet on the list of processes is not dead: it was started a moment ago.
            sleep 1
            if ready "$1"; then return; fi
            if pid_of "$1" >/dev/null && [ "$SECONDS" -lt "$until" ]; then continue; fi
            platform_died "$1" "did not become ready"
            exit 1
        fi
        sleep 0.2
    done
}

platform_died() {
    warn "$1 $2; the end of $(short "$folder/$1/log"):"
    tail -n 15 "$folder/$1/log" >&2 || true
}

platform_say() {
    local me=infra/local/platform
    cat <<TEXT

all processes are ready
  page        http://$host:$(port page)/
  Kafka       $(kafka_bootstrap)${prefix:+   (topics begin with $prefix)}
  registry    http://$host:$(port page)/registry
  subscribe   target/local/python/bin/python infra/examples/subscribe.py http://$host:$(port page) ${prefix}sip.transactions --kafka=$(kafka_bootstrap)
  records     $me psql${name:+ --name $name} -c "select call_id, disposition, talk_ms from calls_view order by call_id desc limit 5"
  raw events  $me clickhouse${name:+ --name $name} "SELECT event_type, count() FROM sip_transactions FINAL GROUP BY 1"
  settings    --config $(short "$settings")   for topics, call, replay, stream verify
  logs        $(short "$folder")/PROCESS/log
TEXT
}

# Until Ctrl-C: says when a process dies. Then ends what was started here.
platform_watch() {
    local process gone=''
    trap 'trap - INT TERM; say ""; platform_stop "${started[@]}"; exit 0' INT TERM
    say "Ctrl-C ends it"
    while :; do
        for process in "${processes[@]}"; do
            if ! pid_of "$process" >/dev/null && [[ " $gone " != *" $process "* ]]; then
                gone+=" $process"
                platform_died "$process" "is gone (start it again: infra/local/platform up --detach${name:+ --name $name})"
            elif pid_of "$process" >/dev/null; then
                gone=${gone//" $process"/}
            fi
        done
        sleep 1
    done
}

# The callers first, the edge before those who read what it says.
platform_stop() {
    local process pid wanted=" $* "
    for process in simulate api edge engine fraud capacity analytics cdr; do
        [[ $wanted == *" $process "* ]] || continue
        while pid=$(pid_of "$process"); do
            kill -TERM "$pid" 2>/dev/null || true
            if ! await 45 eval "[ ! -e /proc/$pid ] || grep -q '^State:.Z' /proc/$pid/status"; then
                warn "$process (pid $pid) did not stop within 45 s and is killed"
                kill -KILL "$pid" 2>/dev/null || true
                await 10 eval "[ ! -e /proc/$pid ]" || break
            fi
            say "$process: stopped"
        done
    done
}

platform_down() {
    platform_stop "${processes[@]}"
    if $1; then
        if pid_of postgres >/dev/null; then postgres_psql trunkline -c "set client_min_messages = error; drop schema if exists $store cascade"; fi
        if pid_of clickhouse >/dev/null; then platform_clickhouse "DROP DATABASE IF EXISTS $store"; fi
        if pid_of kafka >/dev/null; then "$venv/bin/python" "$here/clients.py" kafka-wipe "$(kafka_bootstrap)" "$prefix"; fi
        rm -rf "$folder" "$run_dir"
        say "what it had written is removed; the servers go on (infra/local/down stops them)"
    else
        say "the servers go on (infra/local/down stops them)"
    fi
}

platform_status() {
    local process pid status=0
    for process in "${processes[@]}"; do
        if ! pid=$(pid_of "$process"); then
            printf '%-11s stopped\n' "$process"
            status=1
        elif [ "$process" = simulate ]; then
            printf '%-11s running   pid %s   %s\n' "$process" "$pid" "$(tail -n 1 "$folder/simulate/log")"
        elif ready "$process"; then
            printf '%-11s ready     pid %s   http://%s:%s/metrics\n' "$process" "$pid" "$host" "$(port "$process")"
        else
            printf '%-11s not ready pid %s\n' "$process" "$pid"
            status=1
        fi
    done
    return "$status"
}

platform_clickhouse() {
    "$venv/bin/python" "$here/clients.py" clickhouse-ask "$(clickhouse_url)" "$base/password" "$store" "$1"
}
