"""HTTP on Sanic: reading requests, the context that handlers reach, errors as problem+json."""
