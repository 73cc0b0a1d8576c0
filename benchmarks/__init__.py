"""Measurements beside a peer: `python -m benchmarks.NAME`, a table, or with --json one JSON object."""
