"""The review queue: what a dermatologist should look at, the decisions that come back, and what they change."""
