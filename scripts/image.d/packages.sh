# Sourced by scripts/image: files of the distribution's packages.
packages=${XDG_CACHE_HOME:-$HOME/.cache}/runner-tools/packages

# unpack ROOT PACKAGE... - puts the packages' files there; each is fetched once. No script of a package is run.
unpack() {
    target=$1
    shift
    need apt-get apt-cache dpkg-deb
    mkdir -p "$packages"
    for package; do
        ls "$packages/${package}_"*.deb >/dev/null 2>&1 || fetch "$package"
        for archive in "$packages/${package}_"*.deb; do
            # Where /bin is a link to /usr/bin it stays one.
            dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$target" --keep-directory-symlink
        done
    done
}

# Not as user _apt, which may not write there.
fetch() {
    command="cd '$packages' && apt-get -qq -o APT::Sandbox::User=root download '$1'"
    sh -c "$command" 2>/dev/null || { apt-get -qq update && sh -c "$command"; } ||
        { echo "image: cannot get the package $1" >&2; exit 69; }
}

# closure PACKAGE... - the packages and all they depend on, but those whose names match $without.
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
        grep '^[a-z]' | grep -Evx "$without" | sort -u
}

# usr_links ROOT - the layout in which programs and libraries are below /usr only.
usr_links() {
    for name in bin sbin lib lib64; do
        mkdir -p "$1/usr/$name"
        ln -s "usr/$name" "$1/$name"
    done
}

# with_libraries STAGE ROOT FILE... - copies FILEs and every library they need from STAGE to the same place in ROOT.
with_libraries() {
    stage=$1 target=$2
    shift 2
    need readelf
    while [ $# -gt 0 ]; do
        file=$1
        shift
        [ ! -e "$target$file" ] || continue
        [ -e "$stage$file" ] || { echo "image: no file $file in the packages" >&2; exit 1; }
        mkdir -p "$target$(dirname "$file")"
        # A library's name is a link to its file; copying what it points to keeps one file of each.
        cp -L --preserve=mode "$stage$file" "$target$file"
        for needed in $(readelf -dl "$stage$file" 2>/dev/null |
            sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p; s/.*interpreter: \(.*\)\]/\1/p'); do
            case $needed in
                /*) set -- "$@" "/usr$needed" ;;
                *) library=$(cd "$stage" && find usr/lib -name "$needed" | sort | head -n 1) && set -- "$@" "/$library" ;;
            esac
        done
    done
}

# busybox ROOT - the static busybox and a link for each of its programs that the image does not have yet.
busybox() {
    stage=$work/busybox
    [ -d "$stage" ] || { mkdir "$stage" && unpack "$stage" busybox-static; }
    mkdir -p "$1/bin"
    cp "$stage/bin/busybox" "$1/bin/busybox"
    for program in $("$stage/bin/busybox" --list); do
        [ -e "$1/bin/$program" ] || [ -e "$1/usr/bin/$program" ] || ln -s busybox "$1/bin/$program"
    done
}
