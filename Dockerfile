# syntax=docker/dockerfile:1
# One image for every component of this workspace, with the runtime inside the component's own binary. scripts/image builds
# and checks it; by hand:
#
#   docker build --build-arg PACKAGE=outlook --build-arg COMPONENT_JSON="$(jq -c . components/outlook/component.json)" -t outlook .
#
# PACKAGE         the workspace package; without it, the reference component
# FEATURES        features of the package, such as `elasticio-sailor/opentelemetry` (docs/tracing.md)
# COMPONENT_JSON  its component.json on one line. The platform reads the descriptor from a label, and a label cannot be
#                 filled from a file, so whoever builds hands the text over
# LOGO            its logo in base64, where the platform is to show one

FROM rust:1.95-bookworm AS rust
WORKDIR /src

# The manifests, with an empty program in the place of each target. The layer that is built from them below is the same as
# long as they are.
FROM rust AS manifests
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY . .
RUN targets=$(cargo metadata --no-deps --format-version 1 | grep -o '"src_path":"[^"]*"' | cut -d '"' -f 4); \
    find . ! -type d ! -name Cargo.toml ! -name Cargo.lock -delete; \
    find . -type d -empty -delete; \
    while read -r target; do mkdir -p "${target%/*}"; echo 'fn main() {}' >"$target"; done <<<"$targets"

FROM rust AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG PACKAGE=reference-component
ARG FEATURES=""
# The allocator is built for pages of one size, and starts with those that are no larger: kernels for arm64 have up to 64 KB.
ENV AARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE=16
COPY --from=manifests /src .
RUN cargo build --profile image --locked --package "$PACKAGE" --features "$FEATURES" --bins
# The sources are older than what was built of the empty programs.
COPY . .
# Cargo tells where it put the binary and where the package lives: nothing here depends on either's name.
# /image becomes the image's root: the binary, the same under the name `node`, and the descriptor with the metadata
# files that it names. The reference component's package is in lib/, and its descriptor is beside that folder. Every user can
# read them: an installation may run the image as any user.
# hadolint ignore=DL3003
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} +; \
    built=$(cargo build --profile image --locked --package "$PACKAGE" --features "$FEATURES" --bins --message-format json-render-diagnostics \
      | grep '"executable":"'); \
    binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$built"); \
    folder=$(dirname "$(sed -n 's/.*"manifest_path":"\([^"]*\)".*/\1/p' <<<"$built")"); \
    [[ -f $binary ]] || { echo "package $PACKAGE must have exactly one binary, it has: ${binary:-none}" >&2; exit 1; }; \
    install -D "$binary" /image/usr/local/bin/component; \
    ln -s component /image/usr/local/bin/node; \
    mkdir /image/component; \
    cd "$folder"; [[ -f component.json ]] || cd ..; \
    files=$(/image/usr/local/bin/component schema --files); \
    xargs -d '\n' cp --parents -t /image/component <<<"component.json${files:+$'\n'$files}"; \
    chmod -R a=rX,u+w /image

# What the binary is linked with (glibc, libgcc), CA certificates, a user without rights, and nothing else: no shell, no
# package manager, 25 MB.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG COMPONENT_JSON={}
ARG LOGO=""
LABEL elastic.io.component="${COMPONENT_JSON}" elastic.io.logo="${LOGO}"
COPY --from=build /image/ /
WORKDIR /component
# A number: Kubernetes cannot tell of a name that it is not root.
USER 65532:65532
# There is no shell and no curl: the binary asks its own health port, if ELASTICIO_HEALTH_PORT is set (docs/shipping.md).
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["/usr/local/bin/component", "health", "--optional"]
# The platform starts a container with the command line of a Node component. Where it hands that over as arguments
# (`node ./node_modules/elasticio-sailor-nodejs/run.js`), the binary understands it; where it puts it in the place of
# this entry point, `node` on PATH is the binary. No init process is wanted: the binary handles SIGTERM and SIGINT
# itself and starts no children.
ENTRYPOINT ["/usr/local/bin/component"]
