# The image of the bridge: built from this checkout, runs as its own user, needs nothing but its configuration.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package setu

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/setu --create-home setu
COPY --from=build /src/target/release/setu /usr/local/bin/setu
USER setu
WORKDIR /var/lib/setu
EXPOSE 5061/tcp 5060/udp 5060/tcp 20000-23999/udp
ENTRYPOINT ["/usr/local/bin/setu"]
CMD ["serve", "-c", "/etc/setu/setu.toml"]
