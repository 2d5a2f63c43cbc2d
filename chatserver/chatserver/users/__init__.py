"""Users: names, profiles, blocks, and what each viewer sees of them."""
