#!/bin/bash
# Makes a store of images and containers of its own, and mounts under which podman and crun get on
# with this machine's control groups. Prints "ready PROCESS DIRECTORY GROUP", the process whose mounts
# those are; ends every container and removes everything at the end of input.
set -e
[ -n "$STORE" ] || exec env STORE=1 unshare --mount --propagation slave bash "$0"

# crun refuses a machine with both hierarchies of control groups; without this one it sees the first.
if mountpoint -q /sys/fs/cgroup/unified; then umount --lazy /sys/fs/cgroup/unified; fi
top=$(mktemp -d)
group=vitald-test-$$

mkdir "$top"/{images,state,podman}
# The default limits are above what root may set in a sandbox.
cat >"$top/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "crun"
tmp_dir = "$top/podman"
CONF
cat >"$top/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$top/images"
runroot = "$top/state"
CONF
export CONTAINERS_CONF=$top/containers.conf CONTAINERS_STORAGE_CONF=$top/storage.conf

clean() {
    set +e
    podman rm --all --force --time 0
    podman rmi --all --force
    awk -v top="$top/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo |
        xargs --no-run-if-empty umount --lazy
    rm -rf "$top"
    for each in /sys/fs/cgroup/*/$group /sys/fs/cgroup/$group; do
        [ -d "$each" ] && find "$each" -depth -type d -exec rmdir {} +
    done
} >/dev/null 2>&1
trap clean EXIT

echo "ready $$ $top $group"
exec 1>&2
cat >/dev/null
