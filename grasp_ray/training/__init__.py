"""Training of the MIL model with recorded checkpoints. Pure torch; Ray Train wraps it elsewhere."""
