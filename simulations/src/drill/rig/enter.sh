# What a drill becomes when it enters a rig: the one process outside. Ends with the drill's exit code.
# In: INSIDE (a script for within), where cgroups of version 2 are, then the drill and its arguments.
# Whatever ends this process ends all of it: a polite signal is handed on, and if it is killed, so
# are the namespaces, with every process, mount and network in them.
inside=$1 cgroups=$2
shift 2

# Removes the groups of one rig, deepest first; one that still has a process stays.
remove() {
    for group in "$cgroups/requorum-rig-$1"-*; do
        [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
    done
}

# What earlier rigs left that were killed themselves. A group is named after its rig's process.
for group in "$cgroups"/requorum-rig-*; do
    rig=${group##*/requorum-rig-}
    rig=${rig%%-*}
    [ -d "/proc/$rig" ] || remove "$rig"
done

hand_on() {
    told=yes
    first=$(cat "/proc/$space/task/$space/children" 2>/dev/null)
    # Without a first process in there, nothing has been made that could be ended in order.
    # shellcheck disable=SC2086  # one number, or none
    kill -TERM $first 2>/dev/null || kill -KILL "$space" 2>/dev/null
}

space=0
setpriv --pdeathsig KILL \
    unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
    sh -c "$inside" rig "$@" &
space=$!
trap hand_on TERM INT HUP
while
    told=
    wait "$space"
    code=$?
    [ -n "$told" ]
do :; done

for _ in 1 2 3 4 5 6 7 8 9 10; do
    remove $$
    [ -n "$(find "$cgroups" -maxdepth 1 -name "requorum-rig-$$-*")" ] || break
    sleep 0.1
done
exit "$code"
