"""The errors of the project: each names the thing, what is wrong with it and what to do, and carries an exit code."""

from __future__ import annotations


class AvgnError(Exception):
    """Base of all errors that a user can meet; the command line prints the sentence and exits with `exit_code`."""

    exit_code = 1


class UsageError(AvgnError):
    """The call makes no sense (unknown preset, option out of range)."""

    exit_code = 2


class InputError(AvgnError):
    """A file, clip, bundle or checkpoint is not what it should be."""

    exit_code = 3


class MissingError(AvgnError):
    """An engine, an extra or a device is not there."""

    exit_code = 4


class ProofError(AvgnError):
    """A digest, a parity bound or a precision check failed."""

    exit_code = 5
