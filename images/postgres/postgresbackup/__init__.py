"""Runs pgBackRest: the schedule of a repository host, the server that lends out files, and restores.

Only the image's programs, the standard library and Debian's prometheus_client and cronsim are used. What is decided is
in modules without I/O: `repository`, `schedule`, `problems`, `plan`, `drilled`, `status`, `metrics`.
"""
