# quantserve in an image: the server, the packages that it imports, and the shipped models.
#
#   docker build -t quantserve .
#   docker run --rm -p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 --read-only --cap-drop ALL quantserve
# The build does not depend on the architecture: every dependency has wheels for amd64 and arm64.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# "tracing" adds OpenTelemetry.
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/quantserve

# Text operators need a locale for upper and lower case; the base image has only C.UTF-8. To add more locales:
# "en_US de_DE".
ARG LOCALES="en_US"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends locales \
    && rm -rf /var/lib/apt/lists/* \
    && for name in ${LOCALES}; do \
         localedef --no-archive -i "${name}" -f UTF-8 "${name}.UTF-8" || exit 1; done \
    && rm -rf /usr/lib/locale/C.*

# Install the dependencies separately, so that a code change does not install them again.
COPY pyproject.toml deploy/image/requirements.py ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    python requirements.py pyproject.toml grpc ${EXTRAS} > requirements.txt \
    && pip --python /opt/quantserve/bin/python install --no-compile -r requirements.txt

COPY README.md LICENSE ./
COPY scripts/packaging ./scripts/packaging
COPY scripts/examples/fp32 ./scripts/examples/fp32
COPY models ./models
COPY service ./service
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/quantserve/bin/python install --no-compile --no-deps .

# Remove files that are never imported. Then run the server, which checks the result and compiles the imported
# modules.
COPY deploy/image ./image
ENV PATH=/opt/quantserve/bin:$PATH PYTHONPYCACHEPREFIX=/opt/quantserve/pycache
RUN python image/slim.py "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
WORKDIR /
RUN python /build/image/warm.py /build/models


FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="quantserve" \
      org.opencontainers.image.description="Serves quantized ONNX models over HTTP and gRPC, measured, batched, swappable" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

# A numeric uid, so that Kubernetes can verify that the user is not root. The group is root's, for platforms
# that choose the uid themselves.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin quantserve
COPY --from=build /opt/quantserve /opt/quantserve
COPY --from=build /usr/lib/locale /usr/lib/locale
# Uploads and pins are written here; mount a volume to keep them. A new named volume initially contains the
# shipped models. A server without a model is still ready: it waits for an upload.
COPY --chown=10001:0 models /models
ENV PATH=/opt/quantserve/bin:$PATH \
    PYTHONPYCACHEPREFIX=/opt/quantserve/pycache \
    PYTHONUNBUFFERED=1 \
    QUANTSERVE_HOST=0.0.0.0 \
    QUANTSERVE_GRPC_PORT=8001 \
    QUANTSERVE_MODELS=/models \
    QUANTSERVE_ALLOW_EMPTY=true
WORKDIR /
USER 10001:0
VOLUME /models
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["quantserve", "ready"]
ENTRYPOINT ["quantserve"]
CMD ["serve"]
