# Sourced by scripts/cluster: the provider for machines with docker and kind.
name=runner-tools
kubeconfig=$cache/kind.kubeconfig

provider_up() {
    provider_possible
    mkdir -p "$cache/kind-audit"
    if ! kind get clusters 2>/dev/null | grep -qx "$name"; then
        # Paths in the configuration are relative to it.
        (cd "$files/config" && sed "s|@LOG_MAX_SIZE@|$log_max_size|; s|@AUDIT@|$cache/kind-audit|" kind.yaml |
            kind create cluster --name "$name" --config - --kubeconfig "$kubeconfig" --wait 120s)
    fi
    kind get kubeconfig --name "$name" >"$kubeconfig"
    KUBECONFIG=$kubeconfig kubectl wait --for=condition=Ready node --all --timeout=120s
    KUBECONFIG=$kubeconfig kubectl wait --for=create serviceaccount/default --timeout=60s
}

provider_down() {
    need docker kind
    kind delete cluster --name "$name" --kubeconfig "$kubeconfig"
    rm -f "$kubeconfig" "$kubeconfig.node"
}

provider_status() {
    kind get clusters 2>/dev/null | grep -qx "$name" || { echo "no cluster"; exit 3; }
    KUBECONFIG=$kubeconfig kubectl get nodes -o wide || exit 1
    KUBECONFIG=$kubeconfig kubectl wait --for=condition=Ready node --all --timeout=1s >/dev/null || exit 1
}

provider_load() {
    for archive; do kind load image-archive "$archive" --name "$name"; done
}

# In the network of the node: only there pods can reach what CMD serves.
provider_exec() {
    pid=$(docker inspect --format '{{.State.Pid}}' "$name-control-plane")
    sed 's|server: .*|server: https://127.0.0.1:6443|' "$kubeconfig" >"$kubeconfig.node"
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    exec $sudo nsenter --target "$pid" --net -- env PATH="$PATH" KUBECONFIG="$kubeconfig.node" "$@"
}

provider_kubeconfig() { echo "$kubeconfig"; }

provider_audit_log() { echo "$cache/kind-audit/audit.log"; }

provider_possible() {
    need docker kind kubectl
    docker info >/dev/null || fail "docker does not answer"
}

provider_kill() { fail "\`kill\` is for the local provider: use \`docker exec $name-control-plane\`"; }
