# Runs inside the emulated machine as its first process: makes devices of every kind that it can, starts
# the programs that the files in /results name, and writes their pages there, round after round, until
# there is a file named stop.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap 'echo "ended" >/results/ended; sync; echo o >/proc/sysrq-trigger; sleep 60' EXIT
exec >/results/log 2>&1
set -x

modprobe -a e1000e bcache bonding bridge btrfs dm_multipath dm_round_robin drbd dummy ip_vs ip_vs_rr loop \
    mac80211_hwsim nf_conntrack nf_tables nft_ct nfs nfsd nfsv4 nvme raid1 sch_fq_codel sch_tbf softdog tun veth xfs zram
# A tape drive that holds its data in memory.
modprobe scsi_debug ptype=1 dev_size_mb=8
modprobe st

# Disks in memory, and what can be made of them.
for disk in 0:40M 1:40M 2:80M 3:80M 4:320M 5:160M 6:160M 7:40M 8:40M; do
    truncate -s "${disk#*:}" "/tmp/disk${disk%:*}"
    [ -e "/dev/loop${disk%:*}" ] || mknod "/dev/loop${disk%:*}" b 7 "${disk%:*}"
    losetup "/dev/loop${disk%:*}" "/tmp/disk${disk%:*}"
done
mdadm --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 --run --assume-clean /dev/loop0 /dev/loop1 </dev/null
make-bcache -C /dev/loop2 -B /dev/loop3
for disk in 2 3; do echo /dev/loop$disk >/sys/fs/bcache/register; done
mkfs.xfs -q -f /dev/loop4
mkfs.btrfs -q -f -L pool -d raid1 -m raid1 /dev/loop5 /dev/loop6
mkdir -p /run/xfs /run/btrfs
mount /dev/loop4 /run/xfs
mount /dev/loop5 /run/btrfs
echo "0 81920 multipath 0 0 1 1 round-robin 0 1 1 7:7 1000" | dmsetup create mpath0 -u mpath-4242
mkdir -p /run/lock
drbdmeta --force 0 v08 /dev/loop8 internal create-md
drbdsetup new-resource r0
drbdsetup new-minor r0 0 0
drbdsetup attach 0 /dev/loop8 /dev/loop8 internal
drbdsetup primary 0 --force
echo 16M >/sys/block/zram0/disksize
mkswap /dev/zram0
swapon /dev/zram0

# Interfaces, and what sits on them.
ip link set lo up
for name in dummy1 dummy2; do ip link add $name type dummy; done
ip link add bond7 type bond mode active-backup
ip link set dummy1 master bond7
ip link set dummy2 master bond7
ip link set bond7 up
ip address add 10.9.0.1/24 dev bond7
ip link add bridge7 type bridge
ip link add veth1 type veth peer name veth2
ip link set veth1 master bridge7 alias "to the bridge"
for name in bridge7 veth1 veth2 eth0; do ip link set $name up; done
ip address add 10.8.0.1/24 dev veth2
ip neighbour add 10.8.0.9 lladdr 02:00:00:00:00:09 dev veth2
tc qdisc add dev dummy1 root fq_codel
tc qdisc add dev veth2 root tbf rate 1mbit burst 32kb latency 400ms
ipvsadm -A -t 10.9.0.1:80 -s rr
ipvsadm -a -t 10.9.0.1:80 -r 10.8.0.2:80 -m -w 5
ipvsadm -A -f 7 -s rr
ipvsadm -a -f 7 -r 10.8.0.3:0 -g
nft 'add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c ct state new accept'

# Two radios that hear each other, and a network file system of our own. The cell has a name: two
# cells that the radios made do not always become one.
for name in wlan0 wlan1; do
    iw dev $name set type ibss
    ip link set $name up
    iw dev $name ibss join vitald 2412 fixed-freq 02:0b:55:1d:00:01
done
# A radio joins some time after it was told to.
joined() {
    iw dev wlan0 link | grep -q "^Joined IBSS" && iw dev wlan1 link | grep -q "^Joined IBSS" &&
        iw dev wlan0 station dump | grep -q . && iw dev wlan1 station dump | grep -q .
}
for ((attempt = 0; attempt < 100; attempt++)); do
    joined && break
    sleep 0.1
done
mkdir -p /run/export /run/nfs /var/lib/nfs/v4recovery
mount -t tmpfs tmpfs /run/export
mount -t nfsd nfsd /proc/fs/nfsd
exportfs -o rw,fsid=0,no_root_squash,insecure,no_subtree_check '*:/run/export'
rpc.mountd -N 2 -N 3
rpc.nfsd -N 3 -V 4 2
timeout 60 mount -t nfs4 127.0.0.1:/ /run/nfs
echo "over the network" >/run/nfs/file
cat /run/nfs/file

# start NAME: a program by the words of /results/NAME, one a line.
start() {
    local words
    mapfile -t words <"/results/$1"
    "${words[@]}" >"/results/$1.log" 2>&1 &
    started+=($!)
}
# Whether all of them run.
run() {
    kill -0 "${started[@]}"
}
# page PORT FILE
page() {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    sed '1,/^\r$/d' <&3 >"/results/$2"
    exec 3>&-
}

set +x
start theirs
start ours
start nobodys
until page 9101 first && page 9102 first && page 9103 first; do
    run && ! [ -e /results/stop ] || exit
    sleep 0.1
done 2>/dev/null
round=0
until [ -e /results/stop ]; do
    page 9101 before.$round && page 9102 shown.$round && page 9101 after.$round &&
        page 9103 nobodys.$round || exit
    round=$((round + 1))
    echo $round >/results/rounds.new
    mv /results/rounds.new /results/rounds
done
