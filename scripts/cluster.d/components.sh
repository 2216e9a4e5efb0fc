# Sourced by local.sh: the components and their settings.
components="etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet"

# configure - the files that components read.
configure() {
    for file in cni.conflist containerd.toml kubelet.yaml audit.yaml; do
        sed "s|@DIR@|$dir|; s|@CNI@|$cni|; s|@RUNC@|$(command -v runc)|; s|@CGROUP@|$group|; s|@LOG_MAX_SIZE@|$log_max_size|" \
            "$files/config/$file" >"$dir/$file"
    done
    mv "$dir/cni.conflist" "$dir/cni/"
    echo "nameserver $node_ip" >"$dir/resolv.conf"
}

# Its clients are on the same node, and nobody else reaches its loopback device.
start_etcd() {
    run etcd etcd --name $node --data-dir "$dir/etcd" --logger zap --log-outputs stderr --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster $node=http://127.0.0.1:2380
}

start_containerd() {
    run containerd containerd --config "$dir/containerd.toml"
}

start_apiserver() {
    run kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=443 --advertise-address=$node_ip \
        --service-cluster-ip-range=$services --allow-privileged --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --client-ca-file="$pki/ca.crt" \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
        --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/tokens.pub" \
        --service-account-signing-key-file="$pki/tokens.key" \
        --audit-policy-file="$dir/audit.yaml" --audit-log-path="$dir/log/audit.log"
}

start_controller_manager() {
    run kube-controller-manager kube-controller-manager --kubeconfig="$pki/kube-controller-manager.kubeconfig" \
        --leader-elect=false --use-service-account-credentials --root-ca-file="$pki/ca.crt" \
        --service-account-private-key-file="$pki/tokens.key"
}

start_scheduler() {
    run kube-scheduler kube-scheduler --kubeconfig="$pki/kube-scheduler.kubeconfig" --leader-elect=false
}

start_kubelet() {
    run kubelet kubelet --config="$dir/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" --hostname-override=$node \
        --node-ip=$node_ip
}

# pause_image - brings the image of pod sandboxes onto the node, unless it is there.
pause_image() {
    wait_for 20 containerd "containerd answers" ctr -a "$dir/containerd.sock" version
    ctr -a "$dir/containerd.sock" -n k8s.io images ls -q | grep -qx localhost/pause:1 && return
    provider_load "$("$here/image" pause)" >/dev/null
}
