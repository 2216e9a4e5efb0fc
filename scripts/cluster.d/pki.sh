# Sourced by local.sh: an authority of the cluster's own and what it vouches for, all below $pki.

# certificates - makes them unless they exist.
certificates() {
    [ -e "$pki/done" ] && return
    need openssl
    mkdir -p "$pki"
    (
        cd "$pki"
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -days 3650 -subj /CN=runner-tools-cluster -out ca.crt
        # The key that service account tokens are signed with.
        openssl ecparam -name prime256v1 -genkey -noout -out tokens.key
        openssl ec -in tokens.key -pubout -out tokens.pub
        certificate apiserver /CN=kube-apiserver \
            "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$node_ip,IP:$service_ip"
        certificate kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:127.0.0.1,IP:$node_ip"
        certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet
        certificate admin /O=system:masters/CN=admin
        certificate kube-controller-manager /CN=system:kube-controller-manager
        certificate kube-scheduler /CN=system:kube-scheduler
    ) 2>"$pki/log" || { cat "$pki/log" >&2; fail "cannot make the certificates"; }
    for user in kubelet admin kube-controller-manager kube-scheduler; do kubeconfig_of $user; done
    touch "$pki/done"
}

# certificate NAME SUBJECT [ALT-NAMES] - NAME.key and NAME.crt, for servers and clients.
certificate() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    {
        echo "keyUsage=digitalSignature"
        echo "extendedKeyUsage=serverAuth,clientAuth"
        [ -z "${3-}" ] || echo "subjectAltName=$3"
    } >"$1.ext"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt"
}

# kubeconfig_of NAME - NAME.kubeconfig, for the user whose certificate is NAME.crt.
kubeconfig_of() {
    cat >"$pki/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: cluster
contexts: [{name: cluster, context: {cluster: cluster, user: $1}}]
clusters: [{name: cluster, cluster: {server: "https://$node_ip:443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
YAML
    chmod 600 "$pki/$1.kubeconfig"
}
