# The first process of a rig's process namespace. In: the drill and its arguments. It makes the
# switch that all hosts hang on, starts the drill, hands signals on to it and buries orphans: a host
# can't be gone before every process that entered it was waited for.
set -e
# Hosts' disks are made by the drill, and not for root alone.
umask 022
ip link set lo up
ip link add br0 type bridge
ip addr add 10.77.0.1/24 dev br0
ip link set br0 up
set +e
"$@" &
drill=$!
# Without a handler, the first process of a namespace sees no signal at all.
trap 'told=yes; kill -TERM "$drill" 2>/dev/null' TERM INT HUP
while
    told=
    wait "$drill"
    code=$?
    [ -n "$told" ]
do :; done
exit "$code"
