"""The only room that imports ray: it moves work to workers and does no arithmetic."""
