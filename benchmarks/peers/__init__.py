"""Other libraries' ways to the engine's scores: one adapter per file, each a function Subject → Contender."""
