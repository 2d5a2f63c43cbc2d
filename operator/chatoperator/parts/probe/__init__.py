"""The probe: its Deployment, and the Secret with the tokens of its two accounts."""
