"""Applies the mounted Secret and ConfigMap to a running PostgreSQL, and exports its metrics.

Runs in a separate container beside the server, with only the image's programs, the standard library and Debian's
prometheus_client, through the server's unix socket: as the superuser, and for metrics as a role with fewer rights.
It has no Kubernetes token: kubelet updates the mounted files.
"""
