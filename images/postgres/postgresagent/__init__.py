"""Keeps a running PostgreSQL's passwords and reloadable parameters at what its mounted Secret and ConfigMap say.

Runs in a container of its own beside the server, with the image's programs and the standard library alone, as the
superuser by the server's unix socket. It has no Kubernetes token: kubelet brings what changes.
"""
