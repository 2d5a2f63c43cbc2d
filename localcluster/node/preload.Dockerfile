# containerd's store with the images of the system pods, not unpacked: importing them at each start of a new node took
# 12 s. Containers unpack what they need.
ARG NODE_BASE
FROM ${NODE_BASE}
COPY system.tar rootfs/etc/containerd/config.toml /preload/
RUN mkdir -p /run/containerd \
 && { containerd --config /preload/config.toml --log-level warn & } \
 && for attempt in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done \
 && ctr --namespace k8s.io images import --no-unpack /preload/system.tar \
 && kill %1 && wait; ls -R /var/lib/containerd | head -40 && rm -r /preload
