"""HAProxy, its Service, and an Ingress or HTTPRoute in front of it."""
