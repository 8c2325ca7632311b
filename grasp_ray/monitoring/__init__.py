"""What changes between two audits: arrivals, novelty, drift, flagged sets, and when retraining is due."""
