"""The multiple-instance model: architecture only. No data loading, no optimisation, no scores."""
