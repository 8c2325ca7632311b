"""Random changes of training photos, decided by (seed, epoch, image id) alone.

So a photo meets the same change whichever worker reads it, and when other photos of its visit are removed.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor


def is_flipped(image_id: str, *, seed: int, epoch: int) -> bool:
    """Whether `epoch` shows this photo mirrored; true in half of the cases."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{image_id}".encode(), digest_size=1).digest()
    return digest[0] % 2 == 1


def flip_photos(
    photos_BHWC: UInt8[Tensor, "B H W 3"], image_ids: Sequence[str], *, seed: int, epoch: int
) -> UInt8[Tensor, "B H W 3"]:
    """Mirror left–right the photos that `epoch` shows mirrored; a new tensor."""
    flipped_B = torch.tensor([is_flipped(image_id, seed=seed, epoch=epoch) for image_id in image_ids])
    return torch.where(flipped_B[:, None, None, None], photos_BHWC.flip(2), photos_BHWC)
