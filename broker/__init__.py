"""Messaging: what a broker promises, and backends that keep it. Knows nothing of learning."""
