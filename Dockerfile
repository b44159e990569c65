# venice-batch as a container image: not root, works with a read-only root file system, stops cleanly as process 1.
#
#   docker build -t venice-batch .
#   docker run --rm --stop-timeout 360 -e VENICE_API_KEY -v "$PWD:/work" venice-batch jobs.jsonl
#
# docs/containers.md explains both, and the cluster.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# Extras of the package, separated by commas.
ARG EXTRAS=bucket
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY docs/man docs/man
COPY venice_batch venice_batch
RUN python3 -m venv /opt/venice-batch
RUN /opt/venice-batch/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRAS}]"
RUN /opt/venice-batch/bin/pip uninstall --yes --disable-pip-version-check pip

FROM python:${PYTHON}-slim
COPY --from=build /opt/venice-batch /opt/venice-batch
RUN mkdir -p /work && chown 12345:12345 /work
# The number has no name, so that any other works too: docker run --user "$(id -u):$(id -g)".
USER 12345:12345
# The cached list of models goes where a read-only container has its one writable folder.
ENV PATH=/opt/venice-batch/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
ENTRYPOINT ["venice-batch"]
CMD ["--help"]
