#!/bin/bash
# Boots this machine's own userland under a systemd of its own: an overlay of / in a container that
# shares the network, unless the arguments, which are options of systemd-nspawn, say otherwise. Prints
# "ready LEADER", the process id of that systemd; ends everything at the end of input.
set -e
# Control groups are shown to systemd as it likes them, and every mount is gone with the namespace.
[ -n "$MACHINE" ] || exec env MACHINE=1 unshare --mount --propagation private bash "$0" "$@"

groups=/sys/fs/cgroup
umount --lazy $groups
mount -t cgroup2 cgroup2 $groups
group=$groups/vitald-test-$$
top=$(mktemp -d)

clean() {
    set +e
    if [ -n "$leader" ]; then kill -KILL "$leader"; fi
    if [ -n "$nspawn" ]; then
        for _ in {1..50}; do [ -d "/proc/$nspawn" ] && sleep 0.1; done
        kill -KILL "$nspawn"
        wait "$nspawn"
    fi
    echo $$ >$groups/cgroup.procs
    for _ in {1..20}; do
        [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} + || sleep 0.1
    done
    umount --lazy "$top"
    rmdir "$top"
} >/dev/null 2>&1
trap clean EXIT

mkdir "$group"
echo $$ >"$group/cgroup.procs"
mount -t tmpfs -o size=1g tmpfs "$top"
mkdir "$top"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
: >"$top/root/etc/machine-id"
cat >"$top/root/etc/systemd/system/test.target" <<'UNIT'
[Unit]
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
UNIT

SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory "$top/root" --boot \
    --register=no --keep-unit --console=pipe --capability=all --link-journal=no \
    --system-call-filter="bpf perf_event_open" --resolv-conf=off --timezone=off "$@" -- \
    --unit=test.target --show-status=no --log-level=warning </dev/null >"$top/console" 2>&1 &
nspawn=$!

for _ in {1..300}; do
    leader=$(tr -d ' ' <"/proc/$nspawn/task/$nspawn/children") || break
    if [ -n "$leader" ] && state=$(nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null); then
        break
    fi
    # Units of this machine that fail in a container are none of ours.
    [ "$state" = degraded ] && break
    sleep 0.1
done
if [ "$state" != running ] && [ "$state" != degraded ]; then
    cat "$top/console" >&2
    exit 1
fi
echo "ready $leader"
exec 1>&2
cat >/dev/null
