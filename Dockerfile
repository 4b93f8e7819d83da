# The `vektonn` server: `serve`, `api` and `index-shard` in one image. See docker-compose.yaml for how they work together.
#
#     docker build --tag vektonn --build-arg VEKTONN_COMMIT_HASH="$(git rev-parse HEAD)" .

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# Shown by the API; the image's context has no .git to ask.
ARG VEKTONN_COMMIT_HASH=unknown
ENV VEKTONN_COMMIT_HASH=$VEKTONN_COMMIT_HASH
# The caches are not part of the layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin vektonn \
    && cp target/release/vektonn /usr/local/bin/vektonn

# The same Debian as above: the binary needs its C library.
FROM debian:bookworm-slim
RUN useradd --no-log-init --uid 10001 --create-home --home-dir /var/lib/vektonn vektonn
COPY --from=build /usr/local/bin/vektonn /usr/local/bin/vektonn
COPY docker/healthcheck.sh /usr/local/bin/vektonn-healthcheck
COPY LICENSE /usr/share/doc/vektonn/LICENSE
# The user's number: hosts that insist on one that is not root cannot look up its name.
USER 10001
WORKDIR /var/lib/vektonn
# `vektonn api` and `vektonn serve` listen on 8081 unless told otherwise, `vektonn index-shard` on 8082.
ENV VEKTONN_HTTP_HOST=0.0.0.0
EXPOSE 8081 8082
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/vektonn-healthcheck"]
ENTRYPOINT ["vektonn"]
CMD ["--help"]
