"""Slow oracles: results by definition, one backward pass per example."""
