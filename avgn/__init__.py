"""AVGN."""
