"""Shortcut audits: does a trained model look at the lesion? Masking, location supervision, saliency."""
