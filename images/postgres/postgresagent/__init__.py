"""Applies the mounted Secret and ConfigMap to a running PostgreSQL: its passwords and reloadable parameters.

Runs in a separate container beside the server, with only the image's programs and the standard library, as the
superuser through the server's unix socket. It has no Kubernetes token: kubelet updates the mounted files.
"""
