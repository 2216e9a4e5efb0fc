# Sourced by scripts/image: one function for each image, which fills $root and archives it.
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

image_helper() {
    usr_links "$root"
    system "$root"
    # Git with what fetching over HTTP, submodules and LFS take; no perl, which only commands for people use.
    stage=$work/helper.stage
    mkdir "$stage"
    usr_links "$stage"
    without='perl.*|libperl.*|liberror-perl|libgdbm.*|git-man|dpkg|tar|debconf.*|cdebconf.*|libdebian.*|libtextwrap.*|libnewt.*|libslang.*'
    # shellcheck disable=SC2046 # a list
    unpack "$stage" $(closure git) git-lfs ca-certificates
    git=/usr/lib/git-core
    with_libraries "$stage" "$root" $git/git $git/git-remote-http $git/git-submodule $git/git-sh-setup $git/git-sh-i18n \
        $git/git-sh-i18n--envsubst /usr/bin/git-lfs
    # Repositories that are folders are fetched through the other two.
    for name in git git-upload-pack git-receive-pack; do ln -s ../lib/git-core/git "$root/usr/bin/$name"; done
    for name in git-remote-https git-remote-ftp git-remote-ftps; do ln -s git-remote-http "$root$git/$name"; done
    mkdir -p "$root/usr/share/git-core/templates" "$root/etc/ssl/certs"
    find "$stage/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat >"$root/etc/ssl/certs/ca-certificates.crt"
    # What `git lfs install --system` writes.
    printf '[filter "lfs"]\n\tclean = git-lfs clean -- %%f\n\tsmudge = git-lfs smudge -- %%f\n\tprocess = git-lfs filter-process\n\trequired = true\n' \
        >"$root/etc/gitconfig"
    static_helper "$root/usr/bin/runner-helper"
    busybox "$root"
    archive "$root" "runner-tools/helper:$version" \
        "{\"Env\":[\"PATH=$path\",\"HOME=/root\"],\"Cmd\":[\"runner-helper\",\"--help\"]}"
}

image_tools() {
    usr_links "$root"
    system "$root"
    busybox "$root"
    tools="runner-poll runner-exec-k8s runner-trace runner-register"
    # shellcheck disable=SC2086 # a list
    static_build release $tools
    for tool in $tools; do cp "$programs/$tool" "$root/usr/bin/$tool"; done
    archive "$root" "runner-tools/tools:$version" "{\"Env\":[\"PATH=$path\"],\"User\":\"65532:65532\"}"
}

image_build() {
    usr_links "$root"
    system "$root"
    without='dpkg|debconf.*|install-info|usrmerge|usr-is-merged|libfile-find-rule-perl|lib(number|text)-.*-perl|gawk|original-awk|perl|perl-modules.*|libperl.*|liberror-perl|libgdbm.*|git-man|libelogind.*|init-system-helpers|libmpfr.*|libsigsegv.*'
    # shellcheck disable=SC2046 # a list
    unpack "$root" $(closure bash coreutils debianutils findutils diffutils grep sed mawk tar gzip perl-base procps hostname git)
    (cd "$root/usr" && rm -rf share/doc share/man share/info share/locale share/lintian share/bug)
    ln -sf mawk "$root/usr/bin/awk"
    ln -sf bash "$root/usr/bin/sh"
    archive "$root" localhost/build:1 "{\"Env\":[\"PATH=$path\"],\"Cmd\":[\"bash\"]}"
}

image_bb() {
    system "$root"
    busybox "$root"
    archive "$root" localhost/bb:1 "{\"Env\":[\"PATH=$path\"],\"Cmd\":[\"sh\"]}"
}

image_nonroot() {
    system "$root"
    busybox "$root"
    mkdir -m 777 -p "$root/home/user"
    archive "$root" localhost/nonroot:1 \
        "{\"Env\":[\"PATH=$path\",\"HOME=/home/user\"],\"Cmd\":[\"sh\"],\"User\":\"1000:1000\",\"WorkingDir\":\"/home/user\"}"
}

# Busybox is the program that its name says.
image_noshell() {
    busybox "$work/whole"
    mkdir -p "$root/bin"
    cp "$work/whole/bin/busybox" "$root/bin/sleep"
    archive "$root" localhost/noshell:1 "{\"Env\":[\"PATH=$path\"],\"Entrypoint\":[\"/bin/sleep\"],\"Cmd\":[\"3600\"]}"
}

image_listen() {
    system "$root"
    busybox "$root"
    mkdir -p "$root/srv"
    echo "listening" >"$root/srv/index.html"
    install -m 755 "$here/image.d/listen" "$root/bin/listen"
    archive "$root" localhost/listen:1 "{\"Env\":[\"PATH=$path\"],\"Entrypoint\":[\"listen\"],\"ExposedPorts\":{\"80/tcp\":{}}}"
}

image_pause() {
    need cc
    cc -static -Os -s -o "$root/pause" "$here/image.d/pause.c"
    archive "$root" localhost/pause:1 '{"Entrypoint":["/pause"],"User":"65535:65535"}'
}

# system ROOT - the files and folders that programs take for granted.
system() {
    mkdir -p "$1/etc" "$1/root" "$1/var" "$1/proc" "$1/sys" "$1/dev" "$1/run"
    mkdir -m 1777 "$1/tmp" "$1/var/tmp"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\nuser:x:1000:1000:user:/home/user:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n' >"$1/etc/group"
    printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$1/etc/nsswitch.conf"
}

# static_build PROFILE PACKAGE... - builds static programs into $programs; for musl, or with the C library of this system.
static_build() {
    need cargo cc
    profile=$1
    shift
    machine=$(uname -m)
    target=$machine-unknown-linux-musl
    # No folder of this machine is named in the programs, so that every checkout gives the same ones.
    flags="--remap-path-prefix=$(cd "$here/.." && pwd)=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    if ! rustup target list --installed 2>/dev/null | grep -qx "$target"; then
        target=$machine-unknown-linux-gnu flags="$flags -C target-feature=+crt-static"
    fi
    for package; do set -- "$@" -p "$package"; shift; done
    # A folder of its own: other flags than the daily builds' would have those made anew.
    (
        cd "$here/.."
        export "CC_$(echo "$target" | tr - _)=${CC:-cc}" RUSTFLAGS="$flags"
        nice cargo build --quiet --locked --profile "$profile" --target "$target" --target-dir target/image --bins "$@"
    ) >&2
    programs=$here/../target/image/$target/$profile
}

static_helper() {
    static_build helper runner-helper
    cp "$programs/runner-helper" "$1"
}
