"""The gradient engine and influence scores. Pure torch and pandas; knows nothing of pruning or Ray."""
