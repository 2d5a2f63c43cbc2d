"""The certificate that HAProxy serves: its sources, its faults, its issuance."""
