# What comes before each block of a document: where its reader is, and what the reader does beside it.
set -euo pipefail
export HOME=/home/you
cd /home/you/vitald

# Builds nothing: whether the packages have the features is asked, and the program is the one under test.
cargo() {
    local command=$1 options=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        case $1 in
        --release) ;;
        --path) options+=(--manifest-path "$2/Cargo.toml") && shift ;;
        --test) grep --quiet "^name = \"$2\"$" collector/Cargo.toml && shift ;;
        *) options+=("$1") ;;
        esac
        shift
    done
    command cargo tree --offline --depth 0 "${options[@]}" >/dev/null
    case $command in
    build) install -D /opt/vitald target/release/vitald ;;
    install) install /opt/vitald /usr/local/bin/vitald ;;
    # A daemon at a terminal, which the next block finds running. It is not on the PATH.
    run)
        printf '%q ' stty rows 24 cols 80 >/tmp/run
        printf '; exec /opt/vitald ' >>/tmp/run
        printf '%q ' "${@:2}" >>/tmp/run
        mkfifo /tmp/keys
        exec 9<>/tmp/keys
        script --quiet --flush --command "bash /tmp/run" /tmp/screen <&9 >/dev/null 2>&1 &
        is_served
        ;;
    esac
}

# A daemon that a reader starts keeps the terminal; the next block is for another one.
vitald() {
    case $1 in
    --config) command vitald "$@" </dev/null >/tmp/daemon.log 2>&1 & is_served ;;
    *) command vitald "$@" ;;
    esac
}

# An answer that is a refusal is a failure.
curl() {
    command curl --silent --show-error --fail "$@"
}

sudo() {
    [ "$1" = -u ] && runuser -u "$2" -- "${@:3}"
}

is_served() {
    curl --retry 60 --retry-delay 1 --retry-all-errors --output /tmp/page http://localhost:9100/metrics
}

# Waits until the log of the daemon that the reader has started says something so often.
has_logged() {
    timeout 60 sh -c "until [ \$(grep --count '$1' /tmp/daemon.log) = $2 ]; do sleep 0.1; done"
}

# Waits until the screen of the daemon that the reader has started has shown something.
has_shown() {
    timeout 60 sh -c "until grep --quiet --text '$1' /tmp/screen; do sleep 0.1; done"
}

end_daemon() {
    local daemon
    daemon=$(pidof vitald)
    if [ "${1-}" = by_key ]; then printf q >/tmp/keys; else kill $daemon; fi
    timeout 60 tail --pid="$daemon" --follow /dev/null
}

# Has systemd read the lines that were written for the service's unit. It starts a unit that has mistakes, too.
load_unit() {
    local mistakes
    mistakes=$(systemd-analyze verify --man=no vitald.service 2>&1) && [ -z "$mistakes" ] || {
        echo "$mistakes" >&2
        return 1
    }
    systemctl daemon-reload
    systemctl show --property=DropInPaths --value vitald | grep --quiet --fixed-strings "$1"
}

restart_service() {
    systemctl daemon-reload
    systemctl restart vitald && return
    journalctl --unit=vitald --no-pager --output=cat --lines=10 >&2
    return 1
}
