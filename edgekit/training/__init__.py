"""Training loop, losses and schedules for torch modules."""
