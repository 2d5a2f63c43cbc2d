"""Kopf operator that turns a ChatCluster into HAProxy, chatservers and PostgreSQL."""
