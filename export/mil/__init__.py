"""A reference evaluator of Core ML programs (MIL), for proof on machines where Core ML itself does not run.

It reads the saved `.mlpackage` (the program and `weight.bin`), not the network it was converted from, and computes each
operation as MIL defines it: in float32, rounded to the type that the program declares. So it proves that the program
and its weights are right. It says nothing of Apple's own kernels, their rounding and their speed.
"""
