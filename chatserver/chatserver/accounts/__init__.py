"""Sign-in and what belongs to an account: codes, devices, deletion."""
