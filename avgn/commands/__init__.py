"""The verbs of the `avgn` command: each reads its options, makes one call into the rooms below and prints."""
