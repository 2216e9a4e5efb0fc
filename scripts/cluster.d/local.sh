# Sourced by scripts/cluster: the provider for machines without docker. The components run as plain processes in a network and a
# mount namespace of their own, kept by one process that does nothing else, and in a control group that contains all they start.
# So the end of those processes is the end of every mount and device, and none of them can be overlooked.
group=runner-tools-cluster
node=node
node_ip=10.98.0.1
service_ip=10.96.0.1
services=10.96.0.0/16
pki=$dir/pki
. "$files/programs.sh"
. "$files/pki.sh"
. "$files/components.sh"
. "$files/holder.sh"

provider_up() {
    provider_possible
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    programs
    mkdir -p "$dir/log" "$dir/cni"
    : >>"$dir/made"
    hold
    certificates
    configure
    start_etcd
    start_containerd
    start_apiserver
    wait_for 30 kube-apiserver "the API server is ready" kubectl_in get --raw /readyz
    start_controller_manager
    start_scheduler
    pause_image
    start_kubelet
    wait_for 60 kubelet "the node registered" kubectl_in get node $node
    # What the node last said of itself may be older than this kubelet.
    wait_for 30 kubelet "the kubelet answers" kubectl_in get --raw /api/v1/nodes/$node/proxy/healthz
    wait_for 60 kubelet "the node is Ready" kubectl_in wait --for=condition=Ready node/$node --timeout=5s
    wait_for 30 kube-controller-manager "there is a default service account" kubectl_in get serviceaccount default
    flock -u 9
}

provider_down() {
    [ "$(id -u)" -eq 0 ] || fail "the local provider needs root"
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    namespace=$(readlink "/proc/$(cat "$dir/holder.pid" 2>/dev/null)/ns/net" || true)
    end_processes
    forget
    nothing_is_left "$namespace"
    flock -u 9
}

provider_status() {
    [ -e "$dir/made" ] || { echo "no cluster"; exit 3; }
    broken=0
    for component in holder $components; do
        if provider_alive "$component"; then
            printf '%-24s running, process %s\n' "$component" "$(cat "$dir/$component.pid")"
        else
            printf '%-24s not running, see %s\n' "$component" "$dir/log/$component.log"
            broken=1
        fi
    done
    [ $broken -eq 0 ] || exit 1
    kubectl_in get nodes -o wide --request-timeout=5s || exit 1
    kubectl_in wait --for=condition=Ready node/$node --timeout=1s >/dev/null || exit 1
}

provider_load() {
    provider_alive containerd || fail "containerd is not running: \`scripts/cluster up\`"
    for archive; do ctr -a "$dir/containerd.sock" -n k8s.io images import "$archive"; done
}

provider_exec() {
    provider_alive holder || fail "no cluster: \`scripts/cluster up\`"
    exec nsenter --net="/proc/$(cat "$dir/holder.pid")/ns/net" -- env KUBECONFIG="$pki/admin.kubeconfig" \
        CONTAINERD_ADDRESS="$dir/containerd.sock" CONTAINERD_NAMESPACE=k8s.io "$@"
}

provider_kubeconfig() { echo "$pki/admin.kubeconfig"; }

provider_audit_log() { echo "$dir/log/audit.log"; }

provider_possible() {
    [ "$(id -u)" -eq 0 ] || fail "the local provider needs root"
    need nsenter unshare setsid flock ip openssl apt-get dpkg-deb
    [ -x "$built/kubelet" ] || need go
    unshare --net --mount true 2>/dev/null || fail "namespaces cannot be made here"
    [ -w "$tracking" ] || fail "control groups cannot be made in $tracking"
}

provider_kill() {
    case " $components " in *" $1 "*) ;; *) fail "no component \`$1\`: one of $components" ;; esac
    provider_alive "$1" || fail "$1 is not running"
    kill -"${2:-KILL}" "$(cat "$dir/$1.pid")"
}

# A recorded id counts only as long as that process is in the cluster's group: ids are used again.
provider_alive() {
    [ -e "$dir/$1.pid" ] && grep -qx "$(cat "$dir/$1.pid")" "$own_group/cgroup.procs" 2>/dev/null
}

provider_log() {
    echo "== the end of $dir/log/$1.log"
    tail -n 20 "$dir/log/$1.log"
}

kubectl_in() { (provider_exec kubectl "$@"); }
