# Redis: started and checked. Nothing in it is worth keeping, so it writes nothing to disk.

redis_program() { printf 'redis-server'; }
redis_mark() { printf '%s' "$base/redis/redis.conf"; }
redis_url() { printf 'redis://:%s@%s:%s/0' "$(password)" "$host" "$(port_of redis)"; }

# redis_tool NAME: the system's, else ours.
redis_tool() {
    local tool version
    for tool in "$(command -v "$1" 2>/dev/null)" "$unpacked/usr/bin/$1"; do
        [ -x "$tool" ] || continue
        version=$(redis_version_of "$tool")
        [ "${version%%.*}" -ge "$redis_major" ] 2>/dev/null || continue
        printf '%s' "$tool"
        return
    done
    return 1
}

redis_version_of() { with_libraries "$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1; }

redis_missing() {
    if ! redis_tool redis-server >/dev/null || ! redis_tool redis-cli >/dev/null; then plan_unpack+=(redis-server redis-tools); fi
}

redis_version() { redis_version_of "$(redis_tool redis-server)"; }

redis_start() {
    mkdir -p "$base/redis"
    choose_port "$base/redis/port" 16379
    (umask 077 && cat >"$base/redis/redis.conf") <<CONF
bind $host
port $(port_of redis)
requirepass $(password)
dir "$base/redis"
daemonize no
save ""
appendonly no
# The title would hide the path by which pid_of finds it.
proc-title-template "{title} {listen-addr} {config-file}"
CONF
    spawn redis env "$(libraries)" "$(redis_tool redis-server)" "$base/redis/redis.conf"
}

redis_cli() { REDISCLI_AUTH=$(password) with_libraries timeout 5 "$(redis_tool redis-cli)" -h "$host" -p "$(port_of redis)" "$@"; }

redis_healthy() { [ "$(redis_cli ping 2>/dev/null)" = PONG ]; }

redis_env() { say "# redis: for edges that share limits, [edge.hot_state] adapter = \"redis\", edges = …, url = \"$(redis_url)\""; }
