"""One server among several: health, balancing, moving of clients, drain, housekeeping."""
