"""Recording rules, alerts and dashboards as data, from which `make docs` writes what the chart contains.

For development only: no image and no wheel contains this package.
"""
