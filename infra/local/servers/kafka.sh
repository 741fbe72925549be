# Apache Kafka, one KRaft node from the jars of Maven's repository. Loopback only, without passwords.

kafka_program() { printf 'java'; }
kafka_mark() { printf '%s' "kafka.Kafka $base/kafka/server.properties"; }
kafka_bootstrap() { printf '%s:%s' "$host" "$(port_of kafka)"; }
kafka_lib() { printf '%s' "$base/kafka/lib-$kafka_version"; }
kafka_data() { printf '%s' "$base/kafka/data"; }

kafka_missing() {
    if ! java_new_enough; then need_program default-jre-headless; fi
    if [ ! -d "$(kafka_lib)" ]; then
        plan_jars=true
        have mvn || need_program maven
    fi
    need_python "${kafka_python[@]}" "${subscriber_python[@]}"
}

java_new_enough() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge "$java_major" ]
}

# Into a folder of another name first: a half-filled one is never taken for whole.
kafka_fetch() {
    local partial
    java_new_enough || fail "java $java_major or newer is needed; the system's package gave an older one"
    partial=$(kafka_lib).partial
    rm -rf "$partial"
    bounded 600 "Maven's repository" mvn -q -B -Dstyle.color=never -f "$here/kafka/pom.xml" \
        "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin_version:copy-dependencies" \
        -DincludeScope=runtime -DoutputDirectory="$partial" "-Dkafka.version=$kafka_version" "-Dlog4j.version=$log4j_version"
    mv "$partial" "$(kafka_lib)"
}

kafka_version() { printf '%s' "$kafka_version"; }

# kafka_java HEAP CLASS ARGUMENTS…: the words of the command.
kafka_java() {
    local heap=$1
    shift
    printf '%s\n' java "-Xmx$heap" "-Dlog4j2.configurationFile=$here/kafka/log4j2.properties" -cp "$(kafka_lib)/*" "$@"
}

kafka_start() {
    local words
    mkdir -p "$base/kafka"
    choose_port "$base/kafka/port" 19092
    choose_port "$base/kafka/controller-port" 19093
    sed -e "s|@PORT@|$(port_of kafka)|g" -e "s|@CONTROLLER@|$(cat "$base/kafka/controller-port")|g" -e "s|@DATA@|$(kafka_data)|g" \
        "$here/kafka/server.properties" >"$base/kafka/server.properties"
    [ -s "$(kafka_data)/meta.properties" ] || kafka_format
    mapfile -t words < <(kafka_java 512m kafka.Kafka "$base/kafka/server.properties")
    spawn kafka "${words[@]}"
}

kafka_format() {
    local words id
    mapfile -t words < <(kafka_java 128m kafka.tools.StorageTool)
    { id=$("${words[@]}" random-uuid) && "${words[@]}" format -t "$id" -c "$base/kafka/server.properties"; } >>"$base/kafka/log" 2>&1 ||
        { tail -n 5 "$base/kafka/log" >&2; fail "Kafka's storage could not be formatted: see $(short "$base/kafka/log")"; }
}

# The broker lists itself only when it takes requests.
kafka_healthy() { "$venv/bin/python" "$here/clients.py" kafka-ready "$(kafka_bootstrap)"; }

kafka_env() {
    say "export TRUNKLINE__STREAM__ADAPTER='kafka'"
    say "export TRUNKLINE__STREAM__KAFKA__BOOTSTRAP='$(kafka_bootstrap)'"
}
