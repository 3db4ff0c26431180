"""What works on this machine, and for what does not, the one command that mends it. Nothing is installed or changed.

Readers are plain functions of what they are given: a tree of system files, installed versions, a bundle.
"""
