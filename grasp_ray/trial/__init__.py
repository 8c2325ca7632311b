"""The trial's data contract: tables, photos, splits, bags, importers, the simulator. No models, no Ray."""
