"""From scores to removal lists, and the controls of equal size."""
