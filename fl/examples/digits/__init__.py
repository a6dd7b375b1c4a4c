"""Handwritten digits at five sites that write them in different shares: federated data made unlike on purpose.

`python -m fl.examples.digits` compares algorithms and frameworks with training in one place.
"""
