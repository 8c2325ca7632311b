"""Losses of cells: cross-entropy against a mask, a teacher's pseudo-labels, and supervised contrast.

Shapes: B images, L = K + 1 cell labels (0 is background), E hidden channels, h × w cells, H = W image side,
n cells of the batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

MAX_CONTRASTED_CELLS = 512
"""Cells of a batch that are contrasted; more are thinned out evenly, since the cost is quadratic."""


def cell_targets(
    masks_BHW: Bool[Tensor, "B H W"], labels_B: Int64[Tensor, "B"], *, classes: int, grid: tuple[int, int]
) -> Float[Tensor, "B L h w"]:
    """Label shares of each cell: the share of its area inside the mask goes to the image's class, the rest
    to background."""
    inside_Bhw = F.adaptive_avg_pool2d(masks_BHW[:, None].float(), grid)[:, 0]
    targets_BLhw = inside_Bhw.new_zeros(len(labels_B), classes + 1, *grid)
    targets_BLhw[:, 0] = 1 - inside_Bhw
    targets_BLhw[torch.arange(len(labels_B)), labels_B + 1] = inside_Bhw
    return targets_BLhw


def cell_cross_entropy(
    logits_BLhw: Float[Tensor, "B L h w"], targets_BLhw: Float[Tensor, "B L h w"]
) -> Float[Tensor, ""]:
    """Mean over cells of −Σ_l target_l · log p_l."""
    return -(targets_BLhw * torch.log_softmax(logits_BLhw, dim=1)).sum(dim=1).mean()


def pseudo_label_loss(
    student_BLhw: Float[Tensor, "B L h w"], teacher_BLhw: Float[Tensor, "B L h w"], *, confidence: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the student's logits against the teacher's likeliest label, over cells of which the
    teacher is sure (probability ≥ `confidence`), divided by all cells; 0 when it is sure of none."""
    surest_Bhw, label_Bhw = torch.softmax(teacher_BLhw, dim=1).max(dim=1)
    loss_Bhw = F.cross_entropy(student_BLhw, label_Bhw, reduction="none")
    return (loss_Bhw * (surest_Bhw >= confidence)).mean()


def cell_contrast(
    hidden_BEhw: Float[Tensor, "B E h w"], targets_BLhw: Float[Tensor, "B L h w"], *, temperature: float
) -> Float[Tensor, ""]:
    """Supervised contrast of cells (Khosla et al. 2020): for each cell i with partners P(i) of its label,

        −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p/τ) / Σ_{a ≠ i} exp(z_i·z_a/τ) ),   z of unit length,

    averaged over the cells that have a partner; 0 when none has.
    """
    z_nE = F.normalize(hidden_BEhw.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    label_n = targets_BLhw.argmax(dim=1).flatten()
    step = -(-len(label_n) // MAX_CONTRASTED_CELLS)
    z_nE, label_n = z_nE[::step], label_n[::step]
    itself_nn = torch.eye(len(label_n), dtype=torch.bool, device=z_nE.device)
    similarity_nn = (z_nE @ z_nE.T / temperature).masked_fill(itself_nn, float("-inf"))
    log_share_nn = similarity_nn - torch.logsumexp(similarity_nn, dim=1, keepdim=True)
    partner_nn = (label_n[:, None] == label_n[None, :]) & ~itself_nn
    partners_n = partner_nn.sum(dim=1)
    if not bool((partners_n > 0).any()):
        return z_nE.sum() * 0.0
    summed_n = log_share_nn.masked_fill(~partner_nn, 0.0).sum(dim=1)
    has_partner_n = partners_n > 0
    return -(summed_n[has_partner_n] / partners_n[has_partner_n]).mean()
