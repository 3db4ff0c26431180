"""The network in PyTorch: training and export only, never on a device."""
