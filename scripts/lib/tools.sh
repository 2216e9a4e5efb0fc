# Sourced by the scripts: the tools they need, named before anything starts.

# need TOOL… - ends the script unless all of them are installed.
need() {
    missing=
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
    done
    [ -z "$missing" ] && return
    echo "$(basename "$0"): missing:$missing" >&2
    case "$missing" in *cargo*) echo "  cargo: https://rustup.rs, Rust 1.95 or newer" >&2 ;; esac
    case "$missing" in *cc*) echo "  cc: a C compiler, e.g. apt-get install gcc libc6-dev" >&2 ;; esac
    case "$missing" in *git*) echo "  git: e.g. apt-get install git" >&2 ;; esac
    exit 69
}
