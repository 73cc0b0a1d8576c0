"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is the machine's matter: speed is measured by benchmarks, not by tests.
settings.register_profile("labelloop", deadline=None)
settings.load_profile("labelloop")
