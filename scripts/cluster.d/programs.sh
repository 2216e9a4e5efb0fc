# Sourced by local.sh: where the programs of the cluster come from. All of them end up in the cache, nothing is installed.
version=$(sed -n 's|^.*k8s.io/kubernetes \(v[0-9.]*\).*$|\1|p' "$files/go.mod")
built=$cache/$version/bin
unpacked=$cache/debian
PATH=$built:$unpacked/usr/bin:$unpacked/usr/sbin:/usr/sbin:/sbin:$PATH
export PATH

# programs - makes what is missing: Kubernetes from its modules, etcd, containerd, runc and the CNI plugins from packages.
programs() {
    [ -x "$built/kubelet" ] || build_kubernetes
    package etcd-server etcd
    package containerd containerd ctr containerd-shim-runc-v2
    package runc runc
    cni=/usr/lib/cni
    [ -x $cni/bridge ] || { package containernetworking-plugins ""; cni=$unpacked/usr/lib/cni; }
}

# Minutes on few cores, so with lower priority; what was compiled before an interruption is not compiled again.
build_kubernetes() {
    need go
    echo "cluster: building Kubernetes $version, which takes some minutes and is done once" >&2
    mkdir -p "$built.part"
    minor=${version#v1.}
    info=k8s.io/component-base/version
    (
        cd "$files"
        tools=$(sed -n '/^tool (/,/^)/s|^\t||p' go.mod)
        # shellcheck disable=SC2086 # a list
        CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -o "$built.part/" -ldflags \
            "-s -w -X $info.gitVersion=$version -X $info.gitMajor=1 -X $info.gitMinor=${minor%%.*}" $tools
    )
    mv "$built.part" "$built"
}

# package NAME PROGRAM... - unpacks a package of the distribution unless its programs are there.
package() {
    package=$1
    shift
    missing=
    for program; do command -v "$program" >/dev/null 2>&1 || missing=1; done
    [ -n "$missing" ] || return 0
    need apt-get dpkg-deb
    mkdir -p "$unpacked/archives"
    # Not as user _apt, which may not write here.
    fetch="cd '$unpacked/archives' && apt-get -qq -o APT::Sandbox::User=root download '$package'"
    sh -c "$fetch" 2>/dev/null || { apt-get -qq update && sh -c "$fetch"; } || fail "cannot get the package $package"
    for archive in "$unpacked/archives/$package"_*.deb; do dpkg-deb -x "$archive" "$unpacked"; done
}
