"""The product ⟨g′, g⟩_P of a query's and a training image's gradient at one checkpoint.

    sgd    Σ g′ g                               TracInCP (Pruthi et al. 2020, Eq. 1)
    adam   Σ g′ g / (√v + ε)                    symmetric, positive semi-definite: self-influence ≥ 0
    paper  Σ m / (√v + ε) · g′ g                GRASP-PsONet Alg. 1 line 7, read element-wise
    less   Σ g′ Γ(z), Γ = (β₁m + (1−β₁)g) / (√(β₂v + (1−β₂)g²) + ε)      LESS (Xia et al. 2024)

`paper` is kept for fidelity. It has three factors that carry a sign, so that renaming a weight w → −w flips
its term, and self-influence can be negative.

A preconditioner is a plug-in. `of_queries` maps the query gradients, once per checkpoint, and costs nothing
per training image. `weights` gives the diagonal that self-influence needs. Only `less` overrides
`of_training`.

Shapes: M queries, B examples, P entries of one parameter, n consecutive ones.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.errors import ConfigError
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint


class Preconditioner:
    """The plain product (`sgd`), and what the others override."""

    transforms_training = False
    """Whether `of_training` must be called for every block of training gradients."""
    cosine = False
    """Whether scores are divided by the lengths of both gradients."""

    @property
    def knows_self_influence(self) -> bool:
        """Whether `weights` are the diagonal of the product as training gradients see it."""
        return True

    def rotation(self, parameter: str) -> tuple[Tensor, Tensor] | None:
        """Bases [O, O] and [I, I] that training gradients are rotated by before they are formed."""
        return None

    def weights(self, parameter: str) -> Float[Tensor, "P"] | None:
        """Diagonal of the product; None for ones."""
        return None

    def of_queries(self, parameter: str, gradient_MP: Float[Tensor, "M P"]) -> Float[Tensor, "M P"]:
        """What training gradients are multiplied with; may reuse the argument's memory."""
        weights_P = self.weights(parameter)
        return gradient_MP if weights_P is None else gradient_MP.mul_(weights_P)

    def of_training(
        self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"], room: "tuple[Tensor, Tensor]"
    ) -> Float[Tensor, "B n"]:
        """Γ(z) for entries start … start + n, in the first of two blocks of `room` [B, n]."""
        raise AssertionError("only a preconditioner that transforms_training maps training gradients")


def rotated(
    preconditioner: Preconditioner,
    parameter: str,
    delta_BTO: Float[Tensor, "B T O"],
    x_BTI: Float[Tensor, "B T I"],
) -> tuple[Float[Tensor, "B T O"], Float[Tensor, "B T I"]]:
    """The factors of Σ_t δ_t x_tᵀ in the preconditioner's basis: Uᵀ(δ xᵀ)U′ = (Uᵀδ)(U′ᵀx)ᵀ."""
    bases = preconditioner.rotation(parameter)
    if bases is None:
        return delta_BTO, x_BTI
    return delta_BTO @ bases[0], x_BTI @ bases[1]


class Diagonal(Preconditioner):
    """A product with fixed weights per entry (`adam`, `paper`)."""

    def __init__(self, weights: dict[str, Float[Tensor, "P"]]):
        self._weights = weights

    def weights(self, parameter: str) -> Float[Tensor, "P"]:
        """The weights of one parameter's entries."""
        return self._weights[parameter]


class Less(Preconditioner):
    """The training gradient is replaced by the Adam step that it would cause."""

    transforms_training = True

    def __init__(self, moments: "AdamMoments", *, cosine: bool):
        first_decay, second_decay = moments.betas
        self.cosine = cosine
        self._eps = moments.eps
        self._weights = 1 - first_decay, 1 - second_decay
        self._first = {name: first_decay * m for name, m in moments.first.items()}
        self._second = {name: second_decay * v for name, v in moments.second.items()}

    def of_training(
        self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"], room: "tuple[Tensor, Tensor]"
    ) -> Float[Tensor, "B n"]:
        """Γ(z) (LESS, Def. 3.1), in the first of two blocks of `room` [B, n]."""
        step_Bn, scale_Bn = room
        entries = gradient_Bn.shape[1]
        torch.mul(gradient_Bn, gradient_Bn, out=scale_Bn).mul_(self._weights[1])
        scale_Bn.add_(self._second[parameter].narrow(0, start, entries)).sqrt_().add_(self._eps)
        torch.mul(gradient_Bn, self._weights[0], out=step_Bn)
        return step_Bn.add_(self._first[parameter].narrow(0, start, entries)).div_(scale_Bn)


class AdamMoments:
    """m and v of the followed parameters, flattened, bias-corrected if asked for."""

    def __init__(
        self,
        checkpoint: ReplayCheckpoint,
        parameters: dict[str, Tensor],
        *,
        bias_correction: bool,
    ):
        self.betas = checkpoint.betas
        self.eps = checkpoint.eps
        missing = [
            name for name in parameters if name not in checkpoint.exp_avg or name not in checkpoint.exp_avg_sq
        ]
        if missing:
            raise ConfigError(
                f"the checkpoint of epoch {checkpoint.epoch} holds no Adam moments for {len(missing)} "
                f"parameters (first: {missing[0]}). Train with Adam, or set influence.precondition=sgd."
            )
        corrections = [1.0 - beta**checkpoint.step if bias_correction else 1.0 for beta in checkpoint.betas]
        if min(corrections) <= 0.0:
            raise ConfigError(
                f"the checkpoint of epoch {checkpoint.epoch} was taken before the first optimizer step: "
                "Adam's moments are empty. Set influence.precondition=sgd, or leave this checkpoint out."
            )
        self.first = _flattened(checkpoint.exp_avg, parameters, divisor=corrections[0])
        self.second = _flattened(checkpoint.exp_avg_sq, parameters, divisor=corrections[1])

    def weights(self, numerator: Callable[[str], Tensor | float]) -> dict[str, Tensor]:
        """numerator / (√v + ε) per parameter."""
        return {name: numerator(name) / (v.sqrt() + self.eps) for name, v in self.second.items()}


def _flattened(source: dict[str, Tensor], like: dict[str, Tensor], *, divisor: float) -> dict[str, Tensor]:
    return {name: source[name].to(tensor).flatten() / divisor for name, tensor in like.items()}


def build_preconditioner(
    settings: InfluenceSettings, checkpoint: ReplayCheckpoint, parameters: dict[str, Tensor]
) -> Preconditioner:
    """The preconditioner of one checkpoint, on the parameters' device and in their precision.

    Raises `ConfigError` when the checkpoint lacks what it needs.
    """
    if settings.precondition == "sgd":
        return Preconditioner()
    moments = AdamMoments(checkpoint, parameters, bias_correction=settings.bias_correction)
    if settings.precondition == "adam":
        return Diagonal(moments.weights(lambda _: 1.0))
    if settings.precondition == "paper":
        return Diagonal(moments.weights(moments.first.__getitem__))
    if settings.precondition == "less":
        return Less(moments, cosine=settings.less_cosine)
    raise AssertionError("ekfac is built from fitted factors")
