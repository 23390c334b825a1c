"""Measurements, beside other engines in the same run: `python -m benchmarks`; docs/benchmarks.md holds the table.

The other programs here are run by hand; CONTRIBUTING.md lists them.
"""
