"""The Kubernetes API: client, cache, work queue, leader election, and what is known of its objects."""
