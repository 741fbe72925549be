# A schema registry of somebody else: Apicurio, from Maven's repository, in memory. Only `trunkline schemas register` is tried on it,
# so it starts when it is named and never else. Needs Java 21 or newer, which Debian 12 does not have.

registry_program() { printf 'java'; }
registry_mark() { printf '%s' "-Dtrunkline.mark=$base/registry"; }
registry_url() { printf 'http://%s:%s/apis/ccompat/v7' "$host" "$(port_of registry)"; }
registry_lib() { printf '%s' "$base/registry/app-$apicurio_version"; }

# The first java that is new enough: the one of the PATH, else one of those beside it.
registry_java() {
    local java version
    for java in "$(command -v java 2>/dev/null)" "${JAVA_HOME:-/nowhere}/bin/java" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
        if [ "${version:-0}" -ge "$registry_java_major" ]; then printf '%s' "$java"; return; fi
    done
    return 1
}

registry_missing() {
    registry_java >/dev/null || fail "the registry needs Java $registry_java_major or newer, and there is none in the PATH, in JAVA_HOME or in /usr/lib/jvm"
    if [ ! -d "$(registry_lib)" ]; then
        plan_registry=true
        have mvn || need_program maven
    fi
}

# Into a folder of another name first: a half-filled one is never taken for whole.
registry_fetch() {
    local partial
    partial=$(registry_lib).partial
    rm -rf "$partial"
    mkdir -p "$partial/archive"
    bounded 600 "Maven's repository" mvn -q -B -Dstyle.color=never \
        "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin_version:copy" \
        "-Dartifact=io.apicurio:apicurio-registry-app:$apicurio_version:tar.gz:all" -DoutputDirectory="$partial/archive"
    tar -xzf "$partial"/archive/*.tar.gz -C "$partial"
    rm -r "$partial/archive"
    mv "$partial" "$(registry_lib)"
}

registry_version() { printf '%s' "$apicurio_version"; }

registry_start() {
    mkdir -p "$base/registry"
    choose_port "$base/registry/port" 18081
    spawn registry "$(registry_java)" -Xmx384m "$(registry_mark)" "-Dquarkus.http.host=$host" "-Dquarkus.http.port=$(port_of registry)" \
        -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 -jar "$(registry_runner)"
}

registry_runner() { find "$(registry_lib)" -name 'quarkus-run.jar' -o -name 'apicurio-registry-app*-runner.jar' | head -n 1; }

registry_healthy() {
    local answer
    exec 3<>"/dev/tcp/$host/$(port_of registry)" || return 1
    printf 'GET /apis/ccompat/v7/subjects HTTP/1.0\r\nHost: %s\r\n\r\n' "$host" >&3
    IFS= read -r -t 5 answer <&3
    exec 3>&-
    [[ $answer == *" 200 "* ]]
}

registry_env() { say "export TRUNKLINE_TEST_REGISTRY='$(registry_url)'"; }
