# Sourced by scripts/bench: runner-poll alone, with fake-gitlab on one side and a file on the other.

# taken JOBS REQUESTS - how fast JOBS jobs are taken when there are slots for all, with so many parallel requests at most; what the
# tool costs afterwards, with as many jobs running, one slot free and GitLab asked once a second.
taken() {
    rm -rf "${dir:?}"/*
    "$bin/fake-gitlab" serve --listen 127.0.0.1:0 --set job_request_rate=0 --set job_call_rate=0 >"$dir/gitlab.out" 2>"$dir/gitlab.log" &
    gitlab=$!; pids="$gitlab $pids"
    url=$(first_line "$dir/gitlab.out")
    curl -sf "$url/-/fake/jobs?n=[1-$1]" -d '{"script":["true"]}' >/dev/null
    cat >"$dir/config.toml" <<TOML
concurrent = $(($1 + 1))
check_interval = 1
[[runners]]
  name = "bench"
  url = "$url"
  token = "$(sed -n 's/^runner-token: //p' "$dir/gitlab.out")"
  executor = "kubernetes"
  request_concurrency = $2
TOML
    : >"$dir/jobs"
    start=$(date +%s.%N)
    LOG_LEVEL=warn "$bin/runner-poll" --config "$dir/config.toml" --state-dir "$dir/state" >"$dir/jobs" 2>"$dir/poll.log" & poll=$!
    pids="$poll $pids"
    until [ "$(wc -l <"$dir/jobs")" -gt "$1" ]; do kill -0 "$poll" || { cat "$dir/poll.log" >&2; exit 1; }; sleep 0.02; done
    end=$(date +%s.%N)
    awk -v jobs="$1" -v requests="$2" -v start="$start" -v end="$end" -v cpu="$(cpu "$poll")" 'BEGIN {
        printf "%-46s %8.0f jobs/s  (%d jobs in %.2f s, %.2f s of processor time)\n",
            "runner-poll, up to " requests " requests at a time", jobs / (end - start), jobs, end - start, cpu / 100 }'
    before=$(cpu "$poll")
    sleep 10
    awk -v jobs="$1" -v kib="$(memory "$poll" VmRSS)" -v cpu="$(($(cpu "$poll") - before))" 'BEGIN {
        printf "%-46s %8.1f MiB     %.1f ms of processor time a second\n", "  with " jobs " jobs running, resident", kib / 1024, cpu }'
    for pid in $poll $gitlab; do kill "$pid"; wait "$pid" 2>/dev/null || true; done
    pids=
}

taken 1000 1
taken 1000 10
