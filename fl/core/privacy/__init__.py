"""Differential privacy at a site: what training costs of a budget, the noise it needs, and what has been spent."""
