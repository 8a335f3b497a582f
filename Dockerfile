# syntax=docker/dockerfile:1

FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches survive between builds on one machine; what they hold does not get into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package faultline-cli \
    && install -D target/release/faultline /out/faultline

FROM debian:bookworm-slim
# For TLS to Postgres and to the handlers of `faultline work --http`.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/faultline /usr/local/bin/faultline
# A number needs no entry in /etc/passwd, and lets Kubernetes see that it is not root.
USER 10001:10001
EXPOSE 8000
# Whether the process answers; whether the database does is what /health tells.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["faultline", "health", "--url", "http://127.0.0.1:8000/health/live"]
ENTRYPOINT ["faultline"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
