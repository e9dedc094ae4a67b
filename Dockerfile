# Two images from one build: `portvakt`, which is the last and so the default, and `portvakt-sandbox`.
#
#   docker build -t registry.example.no/portvakt:0.1.0 .
#   docker build -t registry.example.no/portvakt-sandbox:0.1.0 --target portvakt-sandbox .
#
# Without an engine, or from a program that is built already: image/build, which takes the final stages from here.

FROM rust:1.95-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY . .
# Static: the image has nothing but the program. The target is named, or macros that run in the compiler would not build.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN target=$(rustc -vV | sed -n 's/^host: //p'); \
    cargo build --profile dist --locked --target "$target" -p portvakt -p portvakt-sandbox --bins; \
    for image in portvakt portvakt-sandbox; do \
      install -D -m 755 "target/$target/dist/$image" "/out/$image/usr/local/bin/$image"; \
      install -D -m 644 /etc/ssl/certs/ca-certificates.crt "/out/$image/etc/ssl/certs/ca-certificates.crt"; \
      install -D -m 644 LICENSE "/out/$image/usr/share/doc/$image/LICENSE"; \
    done

FROM scratch AS portvakt-sandbox
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portvakt-sandbox" \
      org.opencontainers.image.description="Maskinporten and Altinn Authorization simulated, for trying Portvakt. Not for production." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/portvakt-sandbox/ /
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 8400
ENTRYPOINT ["/usr/local/bin/portvakt-sandbox"]
CMD ["--listen", "0.0.0.0:8400"]

FROM scratch AS portvakt
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portvakt" \
      org.opencontainers.image.description="Enforces Maskinporten system-user tokens and Altinn rights in front of an API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/portvakt/ /
ENV PATH=/usr/local/bin PORTVAKT_CONFIG=/etc/portvakt/portvakt.yaml
# Any numeric user will do; the platform may choose another. Nothing is written but to the volumes that are mounted.
USER 65532:65532
# Requests; probes and metrics.
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/portvakt"]
CMD ["run"]
