# ClickHouse's engine (chdb) behind the HTTP interface of clickhouse_http.py. What that front leaves out is in its header.

clickhouse_program() { printf 'python'; }
clickhouse_mark() { printf '%s' "clickhouse_http.py --data $base/clickhouse/data "; }
clickhouse_url() { printf 'http://%s:%s' "$host" "$(port_of clickhouse)"; }

clickhouse_missing() { need_python "${clickhouse_python[@]}"; }

clickhouse_version() { local pin=${clickhouse_python[1]}; printf '%s' "${pin#*==}"; }

clickhouse_start() {
    mkdir -p "$base/clickhouse"
    choose_port "$base/clickhouse/port" 18123
    password >/dev/null
    spawn clickhouse "$venv/bin/python" "$here/clickhouse_http.py" --data "$base/clickhouse/data" \
        --port "$(port_of clickhouse)" --password-file "$base/password"
}

clickhouse_healthy() {
    "$venv/bin/python" "$here/clients.py" clickhouse-ready "$(clickhouse_url)" "$base/password"
}

clickhouse_env() {
    say "export TRUNKLINE__ANALYTICS__CLICKHOUSE__URL='$(clickhouse_url)'"
    say "export TRUNKLINE__ANALYTICS__CLICKHOUSE__DATABASE='trunkline'"
    say "export TRUNKLINE__ANALYTICS__CLICKHOUSE__USER='default'"
    say "export TRUNKLINE__ANALYTICS__CLICKHOUSE__PASSWORD='$(password)'"
}
