"""A real Kubernetes on this machine with kind, also where no container engine runs and no image can be pulled."""
