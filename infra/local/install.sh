# What is missing on this machine, and how it gets here; sourced by lib.sh.
#
# Programs (java, mvn, python3) are installed as the system's packages. Servers are only unpacked from theirs, below target/local:
# an installed one would start a second server of its own and start it again after every boot.
#
# Registries are those that apt-get, mvn and pip are set up for on this machine. Each gets a bounded time.

unpacked=$base/debian
venv=$base/python

# The plan: filled by SERVER_missing, shown, agreed to, carried out.
plan_programs=() plan_unpack=() plan_python=() plan_jars=false plan_registry=false

plan_is_empty() { [ $((${#plan_programs[@]} + ${#plan_unpack[@]} + ${#plan_python[@]})) -eq 0 ] && ! $plan_jars && ! $plan_registry; }

show_plan() {
    say "to install:"
    [ ${#plan_programs[@]} -eq 0 ] || say "  from the system's packages:            ${plan_programs[*]}"
    [ ${#plan_unpack[@]} -eq 0 ] || say "  unpacked from the system's packages:   ${plan_unpack[*]} (into $(short "$unpacked"), no service is made)"
    [ ${#plan_python[@]} -eq 0 ] || say "  from the Python package index:         ${plan_python[*]} (into $(short "$venv"))"
    ! $plan_jars || say "  from Maven's repository:               Apache Kafka $kafka_version and its jars, 55 MB (into $(short "$(kafka_lib)"))"
    ! $plan_registry || say "  from Maven's repository:               Apicurio Registry $apicurio_version (into $(short "$(registry_lib)"))"
    case " ${plan_python[*]} " in *" chdb"*) say "  (chdb is ClickHouse's engine: 180 MB to fetch, 600 MB on disk)" ;; esac
}

carry_out_plan() {
    [ ${#plan_programs[@]} -eq 0 ] || install_programs "${plan_programs[@]}"
    [ ${#plan_unpack[@]} -eq 0 ] || unpack_packages "${plan_unpack[@]}"
    [ ${#plan_python[@]} -eq 0 ] || install_python "${plan_python[@]}"
    ! $plan_jars || kafka_fetch
    ! $plan_registry || registry_fetch
}

need_program() {
    local package
    for package in "${plan_programs[@]}"; do [ "$package" != "$1" ] || return 0; done
    plan_programs+=("$1")
}

# need_python PIN…: notes those that the virtual environment does not have in exactly this version.
need_python() {
    local have_now pin
    have python3 || need_program python3
    if [ ! -x "$venv/bin/python" ] && ! python3 -c 'import ensurepip' 2>/dev/null; then need_program python3-venv; fi
    have_now=$(installed_python)
    for pin in "$@"; do
        case "$have_now" in *"[$pin]"*) ;; *) plan_python+=("$pin") ;; esac
    done
}

installed_python() {
    [ -x "$venv/bin/python" ] || return 0
    "$venv/bin/python" -c '
from importlib.metadata import distributions
print(*("[%s==%s]" % (d.metadata["Name"].replace("_", "-"), d.version) for d in distributions()))'
}

# bounded SECONDS WHO COMMAND…: one line when it goes well; when not, who did not answer or what it said.
bounded() {
    local limit=$1 who=$2 log=$base/install.log status=0 began=$EPOCHREALTIME
    shift 2
    mkdir -p "$base"
    timeout "$limit" "$@" >"$log" 2>&1 </dev/null 9>&- || status=$?
    if [ "$status" -eq 0 ]; then
        say "  $who: done in $(seconds_since "$began") s"
        return
    fi
    tail -n 15 "$log" | sed 's/^/    /' >&2
    if [ "$status" -eq 124 ]; then
        warn "$who did not answer within $limit s. Is this machine online, and is the client set up for its network?"
    else
        warn "$who refused or did not answer (${1##*/} ended with $status; its last words are above, all of them in $(short "$log"))"
    fi
    fail "nothing more was installed and no server was started; what is already here stays, so run this again later"
}

as_root() { if [ "$(id -u)" -eq 0 ]; then printf 'env'; else printf 'sudo'; fi; }

apt=(apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o DPkg::Lock::Timeout=60)

need_apt() { have apt-get || fail "there is no apt-get here: install $* yourself, then run this again"; }

# Package lists may be missing or so old that what they name is gone. Who may not refresh them tries with what is there.
refresh_lists() {
    [ "$(id -u)" -eq 0 ] || have sudo || { say "  the system's package lists: used as they are, for want of sudo"; return; }
    bounded 180 "the system's package lists" "$(as_root)" "${apt[@]}" update -q
}

install_programs() {
    need_apt "$@"
    refresh_lists
    bounded 600 "the system's packages" "$(as_root)" DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -q -y --no-install-recommends "$@"
}

unpack_packages() {
    local package archives needed
    need_apt "$@"
    refresh_lists
    archives=$(mktemp -d "$base/debs.XXXXXX")
    # The packages themselves and what they need that is not installed. What is only older stays: a second libc would break things.
    mapfile -t needed < <("${apt[@]}" -s --no-install-recommends install "$@" 2>/dev/null | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }')
    for package in "$@"; do
        case " ${needed[*]} " in *" $package "*) ;; *) needed+=("$package") ;; esac
    done
    (cd "$archives" && bounded 300 "the system's packages (${#needed[@]})" "${apt[@]}" -q download "${needed[@]}") || exit 1
    mkdir -p "$unpacked"
    for package in "$archives"/*.deb; do dpkg-deb -x "$package" "$unpacked"; done
    rm -rf "$archives"
}

install_python() {
    if [ ! -x "$venv/bin/python" ]; then
        bounded 120 "a Python environment" python3 -m venv "$venv"
    fi
    bounded 900 "the Python package index" "$venv/bin/python" -m pip install -q --disable-pip-version-check --timeout 20 --retries 2 --no-deps "$@"
}

# For `env`: where programs find the libraries that came with unpacked servers.
libraries() {
    local folder found=''
    for folder in "$unpacked"/usr/lib/*-linux-* "$unpacked"/lib/*-linux-*; do
        [ ! -d "$folder" ] || found=$found${found:+:}$folder
    done
    # Joined with care: an empty part would mean the working folder.
    found=$found${LD_LIBRARY_PATH:+${found:+:}$LD_LIBRARY_PATH}
    printf 'LD_LIBRARY_PATH=%s' "$found"
}

with_libraries() { env "$(libraries)" "$@"; }
