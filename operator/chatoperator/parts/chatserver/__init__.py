"""The chatservers, and the Job that migrates their schema."""
