# The helper image of jobs, for people with docker; `scripts/image helper` makes one with the same programs without it.
#   docker build -t runner-tools/helper:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
# Alpine's Rust links programs statically, so the binary runs in build containers of any kind.
RUN cargo build --locked --profile helper -p runner-helper

FROM alpine:3.22
RUN apk add --no-cache ca-certificates git git-lfs && git lfs install --system --skip-repo
COPY --from=build /src/target/helper/runner-helper /usr/bin/runner-helper
CMD ["runner-helper", "--help"]
