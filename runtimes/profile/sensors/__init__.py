"""Readers of power, heat, clocks and throttling: pure functions over a root folder; what cannot be read is None.

`read_sensors(Tree("/"))` of `snapshot` is all of them at once. Facts, names and units: docs/profile.md.
"""
