# Runs inside the emulated machine as its first process: loads the kinds of interfaces that the kernel has as modules, runs
# the program that /results/program names, which is a test of ours once more, and leaves its status in /results/status.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap 'echo "ended" >/results/ended; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
exec >/results/log 2>&1
set -x

modprobe -a 8021q bonding bridge dummy ifb macvlan tun veth
mapfile -t words </results/program
"${words[@]}" >/results/program.log 2>&1
echo $? >/results/status
