# A host's first process until it is systemd: waits for its network, builds its root, moves into it.
# In: which half this is, this script, the host's name, its address, its directory, the base of its
# disk, its cgroup; then triples of ro|rw, a path outside and a path inside. On stdin: a line when
# eth0 is there; its end without a line means that the drill is no more.
set -e
umask 022
half=$1 script=$2 name=$3 ip=$4 dir=$5 base=$6 cgroup=$7
if [ "$half" = first ]; then
    read -r _
    # Only this process joins the group, since systemd must have its root for itself. "0" is who
    # writes it. After that, the root of a new cgroup namespace is this group.
    echo 0 >"$cgroup/cgroup.procs"
    shift
    exec unshare --cgroup sh -c "$script" host second "$@"
fi
shift 7

# An overlay's upper layer can't itself be on an overlay, as /tmp is in many containers.
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root" || {
    echo "is $dir on a disk of its own or on tmpfs? it must not be on an overlay: $(stat -f -c %T "$dir")" >&2
    exit 1
}
cd "$dir/root"
mount -t proc proc proc
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm dev/mqueue
while read -r node major minor; do
    mknod -m 666 "dev/$node" c "$major" "$minor"
done <<NODES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

# All hosts share one kernel and its boot id; yet to each, every boot is another one.
cat /proc/sys/kernel/random/uuid >run/boot-id
chmod 444 run/boot-id
mount --bind run/boot-id proc/sys/kernel/random/boot_id
mount -o remount,bind,ro proc/sys/kernel/random/boot_id

hostname "$name"
ip link set lo up
ip addr add "$ip/24" dev eth0
ip link set eth0 up
ip route add default via 10.77.0.1

mkdir -p .outside
pivot_root . .outside
cd /
# Only now, so that a link in the host's tree leads to where it leads in the host.
while [ $# -ge 3 ]; do
    if [ -d "/.outside$2" ]; then
        mkdir -p "$3"
    else
        mkdir -p "$(dirname "$3")"
        [ -e "$3" ] || : >"$3"
    fi
    mount --bind "/.outside$2" "$3"
    [ "$1" = rw ] || mount -o remount,bind,ro "$3"
    shift 3
done
umount -l /.outside
rmdir /.outside
exec env -i container=rig PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=rig.target </dev/null
