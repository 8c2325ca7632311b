"""Metrics, intervals, paired comparisons. Knows nothing of influence."""
