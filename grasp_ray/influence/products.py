"""What one pass yields per example, whichever sink summed it up.

Shapes: B examples, M queries.
"""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class Products:
    """Products of every example with every query and with itself."""

    dots_BM: Float64[Tensor, "B M"]
    """⟨g′_m, g_b⟩_P."""
    self_B: Float64[Tensor, "B"]
    """⟨g_b, g_b⟩_P; NaN where the preconditioner leaves it out."""
    squared_norm_B: Float64[Tensor, "B"]
    """‖g_b‖²."""
