"""The review queue: what a dermatologist should look at, and the decisions that come back."""
