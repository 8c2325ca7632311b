"""What training saw of each drawn visit, for the loss- and margin-based ways to flag visits.

Shapes: S draws of an epoch in training order, K classes.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from grasp_ray.errors import NumericalError


def draw_losses(logits_SK: Float[Tensor, "S K"], labels_S: Int64[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Each visit's own cross-entropy in nats."""
    return torch.nn.functional.cross_entropy(logits_SK, labels_S, reduction="none")


def dynamics_rows(
    logits_SK: Float[Tensor, "S K"], labels_S: Int64[Tensor, "S"], visit_ids: list[str], epoch: int
) -> pd.DataFrame:
    """One row per draw: epoch, visit_id, loss, margin, probability_label, predicted.

    margin = logit of the label minus the largest other logit (positive: classified right; AUM averages it);
    probability_label = softmax at the label; predicted = the class of the largest logit.
    """
    label_S1 = labels_S[:, None]
    others_SK = logits_SK.scatter(1, label_S1, float("-inf"))
    margin_S = logits_SK.gather(1, label_S1)[:, 0] - others_SK.amax(dim=1)
    probability_S = torch.softmax(logits_SK, dim=1).gather(1, label_S1)[:, 0]
    return pd.DataFrame(
        {
            "epoch": epoch,
            "visit_id": visit_ids,
            "loss": draw_losses(logits_SK, labels_S).numpy(),
            "margin": margin_S.numpy(),
            "probability_label": probability_S.numpy(),
            "predicted": logits_SK.argmax(dim=1).numpy(),
        }
    )


def require_finite(loss_S: Float[Tensor, "S"], visit_ids: list[str], epoch: int, *, of: str) -> None:
    """Raise `NumericalError` naming the first visit, in the order computed, whose loss is not finite."""
    broken = torch.nonzero(~torch.isfinite(loss_S)).flatten().tolist()
    if broken:
        first = broken[0]
        raise NumericalError(
            f"epoch {epoch}: {len(broken)} of {len(loss_S)} {of} losses are not finite; the first is visit "
            f"{visit_ids[first]} ({float(loss_S[first])}, draw {first + 1}). Lower train.learning_rate, or "
            "compute in float32 (train.precision=float32)."
        )
