"""The device side: engines, a file or a live stream becomes decisions; no PyTorch above the backends."""
