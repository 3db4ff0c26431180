"""Losses, the training loop, evaluation, ablations and MAC counting."""
