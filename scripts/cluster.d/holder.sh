# Sourced by local.sh: the namespaces and control groups of the cluster, from first to last.

# The hierarchies that control groups are made in, and the two groups there: components in one, pods in the other. Of the several
# hierarchies of version 1 one is enough to tell what belongs to the cluster.
hierarchies=$(awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts)
tracking=/sys/fs/cgroup
[ -e /sys/fs/cgroup/cgroup.procs ] || tracking=/sys/fs/cgroup/pids
own_group=$tracking/$group/system

# Paths that programs insist on. In the cluster's namespace each is a folder of $dir; outside only the empty mount point is seen.
mount_points="/run/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers"

# hold - makes the namespaces, unless they exist, and the process that keeps them.
hold() {
    provider_alive holder && return
    for hierarchy in $hierarchies; do mkdir -p "$hierarchy/$group"; done
    mkdir -p "$own_group"
    for point in $mount_points; do
        [ -d "$point" ] || { mkdir -p "$point" && echo "$point" >>"$dir/made"; }
        mkdir -p "$dir/root$point"
    done
    rm -f "$dir/held"
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid sh -c '
        echo $$ >"$1/cgroup.procs"
        echo $$ >"$2/holder.pid"
        shift 2
        exec unshare --net --mount --propagation private -- "$@"
    ' - "$own_group" "$dir" "$files/hold" "$dir" $node_ip $service_ip $mount_points </dev/null >"$dir/log/holder.log" 2>&1 9>&- &
    until [ -s "$dir/holder.pid" ]; do sleep 0.05; done
    wait_for 10 holder "the namespaces are made" test -e "$dir/held"
}

# run COMPONENT CMD... - starts CMD in the namespaces and the group, unless it runs.
run() {
    component=$1
    shift
    provider_alive "$component" && return
    # The log of the run before is kept: it may say why that ended.
    rm -f "$dir/$component.pid"
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid sh -c '
        holder=$(cat "$1/holder.pid") component=$2
        echo $$ >"$3/cgroup.procs"
        echo $$ >"$1/$component.pid"
        shift 3
        exec nsenter --target "$holder" --net --mount -- "$@"
    ' - "$dir" "$component" "$own_group" "$@" </dev/null >>"$dir/log/$component.log" 2>&1 9>&- &
    until [ -s "$dir/$component.pid" ]; do sleep 0.02; done
}

# end_processes - kills whatever is in the cluster's groups, until nothing is. New ones may appear meanwhile.
end_processes() {
    until=$(($(date +%s) + 30))
    while pids=$(find "$tracking/$group" -name cgroup.procs -exec cat {} + 2>/dev/null) && [ -n "$pids" ]; do
        # shellcheck disable=SC2086 # a list
        kill -KILL $pids 2>/dev/null || true
        [ "$(date +%s)" -lt "$until" ] || fail "processes do not end:" $pids
        sleep 0.1
    done
}

# forget - removes the groups, the files and the mount points. With the last process the namespaces went, and all mounts with them.
forget() {
    until=$(($(date +%s) + 30))
    for hierarchy in $hierarchies; do
        while [ -d "$hierarchy/$group" ]; do
            find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [ "$(date +%s)" -lt "$until" ] || fail "control group cannot be removed: $hierarchy/$group"
            [ ! -d "$hierarchy/$group" ] || sleep 0.1
        done
    done
    # Nothing is removed but what `up` marked as its own.
    [ -e "$dir/made" ] || return 0
    while read -r point; do rmdir "$point" 2>/dev/null || true; done <"$dir/made"
    rm -rf "$dir"
}

# nothing_is_left NAMESPACE - proves it: NAMESPACE is what the cluster's network was known by, as /proc shows it.
nothing_is_left() {
    strays=
    # shellcheck disable=SC2012 # names are numbers
    [ -z "$1" ] || strays=$(ls -l /proc/[0-9]*/ns/net 2>/dev/null | grep -F -- "-> $1" | sed 's|.*/proc/\([0-9]*\)/.*|\1|')
    [ -z "$strays" ] || fail "processes are left in the cluster's network:" $strays
    ! grep -qF " $dir" /proc/mounts || fail "mounts are left below $dir"
    for hierarchy in $hierarchies; do
        [ ! -e "$hierarchy/$group" ] || fail "a control group is left: $hierarchy/$group"
    done
    [ ! -e "$dir" ] || fail "files are left: $dir"
}
