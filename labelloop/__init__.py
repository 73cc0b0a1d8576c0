"""labelloop: the learning loop for stock Label Studio. This package is the kernel: it imports none of the others."""

__version__ = "0.1.0"
