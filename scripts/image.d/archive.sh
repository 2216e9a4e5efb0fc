# Sourced by scripts/image: a folder becomes an archive as `docker save` makes it, with one layer. Times, owners and the order of
# files are fixed, so that equal folders give equal archives.

# archive ROOT REFERENCE CONFIG - writes $output/NAME.tar, where NAME is the root's; CONFIG is the JSON of the image's settings.
archive() {
    image=$(basename "$1")
    parts=$work/$image.parts
    mkdir "$parts"
    reproducible_tar "$1" "$parts/layer.tar" .
    layer=$(digest "$parts/layer.tar")
    mv "$parts/layer.tar" "$parts/$layer.tar"
    printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"scripts/image %s"}]}' \
        "$(architecture)" "$3" "$layer" "$image" >"$parts/config.json"
    config=$(digest "$parts/config.json")
    mv "$parts/config.json" "$parts/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s.tar"]}]\n' "$config" "$2" "$layer" >"$parts/manifest.json"
    reproducible_tar "$parts" "$output/$image.tar.part" manifest.json "$config.json" "$layer.tar"
    mv "$output/$image.tar.part" "$output/$image.tar"
    rm -rf "$parts"
    echo "$2 sha256:$config" >&2
    echo "$output/$image.tar"
}

# reproducible_tar FOLDER ARCHIVE NAME...
reproducible_tar() {
    folder=$1 target=$2
    shift 2
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$folder" -cf "$target" "$@"
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) uname -m ;;
    esac
}
