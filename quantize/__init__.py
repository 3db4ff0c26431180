"""One NNCF quantisation for every engine."""
