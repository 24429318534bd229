#!/busybox sh
# The first process of the emulated machine: mounts the tree of the machine outside, which stays as
# it is, under one of memory, and goes on with the script that the kernel's command line names.
b=/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod "/modules/$module"; done </modules/order
share="trans=virtio,version=9p2000.L,msize=262144"
$b mount -t 9p -o "$share,ro,cache=loose" outside /outside &&
    $b mount -t 9p -o "$share,ro,cache=loose" kernel /kernel &&
    $b mount -t tmpfs tmpfs /memory && $b mkdir /memory/upper /memory/work &&
    $b mount -t overlay -o lowerdir=/outside,upperdir=/memory/upper,workdir=/memory/work overlay /root &&
    $b mkdir -p /root/lib/modules /root/results ||
    $b poweroff -f
script=$($b sed 's/.*script=\([^ ]*\).*/\1/' /proc/cmdline)
for place in proc sys dev; do $b mount --move "/$place" "/root/$place"; done
for place in run tmp; do $b mount -t tmpfs tmpfs "/root/$place"; done
$b mount --bind /kernel/lib/modules /root/lib/modules
$b mount -t 9p -o "$share" results /root/results
exec $b switch_root /root /bin/bash "$script"
