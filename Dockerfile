# Every image of the project, one target each: chatserver, operator, postgres, haproxy, valkey.
# All run as a fixed non-root user on a read-only root file system; what they write goes to volumes.
# Debian's setuid and setgid bits are cleared in the step that brings them: a later layer would only hide them.
ARG BASE_IMAGE=debian:trixie-slim

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
ENV PATH=/opt/chatcluster/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# uv installs what uv.lock pins, hash by hash; neither it nor pip reaches a final image,
# nor uv's lock file, which everybody may write.
FROM python AS uv
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-venv
COPY images/build/uv.txt /opt/
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/uv.txt
ENV UV_PROJECT_ENVIRONMENT=/opt/chatcluster UV_PYTHON=/usr/bin/python3 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src

# For the modules that are compiled; the final image has no compiler. Before the sources, with which all later layers change.
FROM uv AS compiler
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libpython3-dev

# An image has its own component alone, so that a change of another one leaves it as it is.
FROM compiler AS build-chatserver
COPY pyproject.toml uv.lock ./
# `chatserver probe` is built on it.
COPY clients/ clients/
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra server --no-install-project --no-editable
COPY images/build/ images/build/
COPY hatch_build.py README.md LICENSE ./
COPY chatserver/ chatserver/
# Offline: everything that the wheel depends on is there already, by hash.
RUN images/build/compiled-wheel /opt/uv/bin/uv /opt/wheels \
 && /opt/uv/bin/uv pip install --offline --no-deps --python /opt/chatcluster/bin/python /opt/wheels/*.whl \
 && rm -f /opt/chatcluster/.lock

FROM uv AS build-operator
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra operator --no-install-project
COPY hatch_build.py README.md LICENSE ./
COPY operator/ operator/
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra operator --no-editable && rm -f /opt/chatcluster/.lock

# What browsers keep for ever has a hash in its name, and all of it is compressed once and not for each request.
FROM python AS build-page
RUN apt-get update && apt-get install -y --no-install-recommends brotli
COPY images/build/page.py /src/images/build/
COPY web/ /src/web/
RUN python3 /src/images/build/page.py /src/web /opt/web && find /opt/web -type f ! -name '*.gz' -exec brotli --best --keep {} +

FROM python AS chatserver
COPY --from=build-chatserver /opt/chatcluster /opt/chatcluster
COPY --from=build-page /opt/web/ /opt/web/
ENV CHAT_WEB_ROOT=/opt/web
USER 10001:10001
EXPOSE 8080 9090
ENTRYPOINT ["chatserver"]
CMD ["serve"]

FROM python AS operator
COPY --from=build-operator /opt/chatcluster /opt/chatcluster
USER 10001:10001
EXPOSE 8080 9090
ENTRYPOINT ["chatoperator"]
CMD ["run"]

# With Python, which its agent is written in, in the layer that the other images have; its metrics use Debian's library.
FROM python AS postgres
# Without the first line of the RUN, Debian's package makes a cluster of its own in the image.
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-common \
 && sed -ri 's/^#?create_main_cluster .*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
 && apt-get install -y --no-install-recommends postgresql-17 patroni pgbackrest python3-cronsim python3-prometheus-client python3-pythonjsonlogger zstd \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && usermod -u 999 postgres && groupmod -g 999 postgres \
 && mkdir -p /var/lib/postgresql/data && chown -R 999:999 /var/lib/postgresql /var/run/postgresql
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data/pgdata LANG=C.UTF-8
COPY images/postgres/ /opt/postgres/
USER 999:999
EXPOSE 5432
# Fast shutdown: a smart one would wait for the servers to hang up.
STOPSIGNAL SIGINT
ENTRYPOINT ["/opt/postgres/entrypoint"]

FROM ${BASE_IMAGE} AS haproxy
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
USER 10001:10001
EXPOSE 8080 8443 8404
# Soft stop: no new connections, the open ones end by themselves or at hard-stop-after.
STOPSIGNAL SIGUSR1
ENTRYPOINT ["haproxy"]
CMD ["-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]

# With the exporter of its metrics, which runs in a container of its own.
FROM ${BASE_IMAGE} AS valkey
RUN apt-get update \
 && apt-get install -y --no-install-recommends valkey-server prometheus-redis-exporter \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
USER 10001:10001
EXPOSE 6379 9121
ENTRYPOINT ["valkey-server"]
CMD ["/etc/chatcluster/valkey/valkey.conf"]
