"""What every peer is given and what it hands back.

Query gradients are computed before the clock starts, for peers as for the engine.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine_subject import Scores, Subject
from torch import Tensor, nn
from torch.utils.data import Dataset

CHUNK = 16
"""Images whose whole gradients [chunk, P] exist at once in peers that form them; 4, 8, 64 are no faster."""


@dataclass(frozen=True)
class Contender:
    """A peer, ready to be timed."""

    scores: Callable[[], Scores]
    """⟨g′_m, g_b⟩_P of the first `images` images, and their self-influence (zeros where it gives none)."""
    images: int
    covered: frozenset[str]
    """Names of the parameters whose gradients enter the scores."""
    weighted: bool
    """Whether the queries carry Adam's weights, as the engine's do; else the scores are plain TracIn's."""


class Classifier(nn.Module):
    """The part of the MIL model that a singleton bag's loss depends on: image → logits.

    Parameters keep their names. Attention is not in it: its gradient is exactly zero there.
    """

    def __init__(self, subject: Subject):
        super().__init__()
        whole = copy.deepcopy(subject.model)
        self.encoder, self.projection, self.head = whole.encoder, whole.projection, whole.head
        self.eval().requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K]."""
        logits: Tensor = self.head(self.projection(self.encoder(images)))
        return logits

    def parameter_names(self) -> frozenset[str]:
        """All of them."""
        return frozenset(name for name, _ in self.named_parameters())


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """(image, label) by row, for peers that read a data loader."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.images[row], self.labels[row]


def chunks(images: int) -> Iterator[slice]:
    """Rows of `CHUNK` images at a time."""
    return (slice(first, min(first + CHUNK, images)) for first in range(0, images, CHUNK))
