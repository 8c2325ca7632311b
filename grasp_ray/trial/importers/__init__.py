"""Importers of public data sets: their own published layout in, a trial folder out. No downloads."""
