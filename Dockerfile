# syntax=docker/dockerfile:1
# nkfast in a container: no compiler, no root, one volume for everything that outlives a run.
#
#   docker build -t nkfast .
#   docker run --rm nkfast demo --for 20s
#   docker run -d --name grid -v nkfast:/state -v "$PWD/grid.toml:/etc/nkfast/grid.toml:ro" \
#       nkfast paper /etc/nkfast/grid.toml
#
# Containers of one account share the volume: in it are the nonces, the rate budget and the board by
# which they never trade with each other. The key comes as files (NKFAST_API_KEY_FILE and
# NKFAST_API_SECRET_FILE), for instance as secrets of the orchestrator, and never on a command line.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY nkfast nkfast
RUN python -m venv /opt/nkfast \
    && /opt/nkfast/bin/pip install --no-cache-dir . \
    && /opt/nkfast/bin/nkfast version

FROM python:${PYTHON}-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /state nkfast \
    && chmod 700 /state
COPY --from=build /opt/nkfast /opt/nkfast
ENV PATH=/opt/nkfast/bin:$PATH \
    NKFAST_HOME=/state \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /state
VOLUME /state
# A stop cancels what rests and waits for it: docker stop --time 90.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["nkfast", "ps", "--check"]
ENTRYPOINT ["nkfast"]
CMD ["--help"]
