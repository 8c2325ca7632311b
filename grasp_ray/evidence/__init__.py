"""Which flagger finds what, and whether acting on it helps: studies over many trials, on frozen features."""
