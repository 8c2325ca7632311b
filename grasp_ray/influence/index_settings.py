"""Settings of the gradient index, which answers new queries without another pass over the photos."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from grasp_ray.settings import Settings


class IndexSettings(Settings):
    """A compressed gradient per training photo and checkpoint, and the visits to trace through it."""

    error: float = Field(default=0.02, gt=0, lt=1)
    """Standard deviation of an approximate product at most, as a share of the product of the two gradients'
    lengths (as compressed by `width`); the stored numbers per photo and checkpoint are 2/error²."""

    width: PositiveInt = 32
    """Rows and columns that a weight matrix's gradient is projected to before that."""

    balance: bool = True
    """Scale rows and columns by Adam's moments before projecting, so that `adam` queries, which weigh
    parameters very unequally, are answered as well as `sgd` ones. Any query may be asked in both cases."""

    dtype: Literal["float16", "float32"] = "float16"
    """Of the stored numbers, which are kept at unit length beside the length."""

    seed: NonNegativeInt = 0
    """Of the random projections."""

    candidates: PositiveInt = 100
    """Photos at either end of each approximate list that are scored again, exactly."""

    query_visits: tuple[str, ...] = ()
    """Visits, of any split that was predicted, to trace through the index."""

    @property
    def dimension(self) -> int:
        """Numbers per photo and checkpoint: a hashed product has variance ≤ 2/k (Johnson–Lindenstrauss)."""
        return round(2 / self.error**2)
