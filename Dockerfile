# syntax=docker/dockerfile:1
# One image for every component of this workspace, with the runtime inside the component's own binary:
#
#   docker build --build-arg PACKAGE=outlook --build-arg COMPONENT_JSON="$(jq -c . components/outlook/component.json)" -t outlook .
#
# PACKAGE         the workspace package; without it, the reference component
# FEATURES        features of the package, such as `elasticio-sailor/opentelemetry` (docs/tracing.md)
# COMPONENT_JSON  its component.json on one line. The platform reads the descriptor from a label, and a label cannot be
#                 filled from a file, so whoever builds hands the text over
# LOGO            its logo in base64, where the platform is to show one

FROM rust:1.95-bookworm AS build
ARG PACKAGE=reference-component
ARG FEATURES=""
WORKDIR /src
COPY . .
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Cargo tells where it put the binary and where the package lives: nothing here depends on either's name.
# /image becomes the image's root: the binary, the same under the name `node`, and the descriptor with the metadata
# files it refers to. The reference component's package is in lib/, and its descriptor is beside that folder.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    built=$(cargo build --profile image --locked --package "$PACKAGE" --features "$FEATURES" --bins --message-format json-render-diagnostics \
      | grep '"executable":"'); \
    binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$built"); \
    folder=$(dirname "$(sed -n 's/.*"manifest_path":"\([^"]*\)".*/\1/p' <<<"$built")"); \
    [[ -f $binary ]] || { echo "package $PACKAGE must have exactly one binary, it has: ${binary:-none}" >&2; exit 1; }; \
    install -D "$binary" /image/usr/local/bin/component; \
    ln -s component /image/usr/local/bin/node; \
    mkdir -p /image/home/nonroot/component; \
    cd "$folder"; [[ -f component.json ]] || cd ..; \
    find component.json $(find lib verifyCredentials -maxdepth 0 2>/dev/null) -name '*.json' \
      -exec cp --parents -t /image/home/nonroot/component {} +

# What the binary is linked with (glibc, libgcc), CA certificates, a user without rights, and nothing else: no shell, no
# package manager, 25 MB.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG COMPONENT_JSON={}
ARG LOGO=""
LABEL elastic.io.component="${COMPONENT_JSON}" elastic.io.logo="${LOGO}"
# glibc then keeps less memory that is not used: docs/memory.md, "The allocator".
ENV MALLOC_ARENA_MAX=2
COPY --from=build /image/ /
WORKDIR /home/nonroot/component
USER nonroot
# The platform starts a container with the command line of a Node component. Where it hands that over as arguments
# (`node ./node_modules/elasticio-sailor-nodejs/run.js`), the binary understands it; where it puts it in the place of
# this entry point, `node` on PATH is the binary. No init process is wanted: the binary handles SIGTERM and SIGINT
# itself and starts no children.
ENTRYPOINT ["/usr/local/bin/component"]
