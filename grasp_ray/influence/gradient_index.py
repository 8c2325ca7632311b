"""Compressed gradients: a training gradient becomes k numbers, and is never formed on the way.

    ⟨P g′, g⟩ = E ⟨ψ(P g′), φ(g)⟩,    φ(g) = C K (S g),    ψ(u) = C K (S⁻¹ u)

K projects the gradient G = Σ_t δ_t x_tᵀ of a weight matrix to A G Bᵀ = Σ_t (A δ_t)(B x_t)ᵀ with random signs
in A [w, O] and B [w, I], divided by √w: that is (A ⊗ B) vec G from projected inputs and output gradients.
Vectors are kept whole. C (a count sketch) adds every entry with a random sign to one of k numbers. Both keep
products in expectation; C errs by √(2/k) of the lengths at most, K by about 2/√w per matrix, independently.

S is a diagonal of rank one per matrix, s_oi = a_o b_i, so that it can be put into A and B. It changes no
expectation. A query P g′ of `adam` is long where √v is small and training gradients are short there; with
s near √P (from Adam's v) both have like lengths, and the error shrinks. The preconditioner itself acts on the
query alone, so that one index answers every preconditioner's queries (but `less`, which maps g itself).

Shapes: B images, M queries, P entries of a parameter, O × I a weight matrix, w width, E entries after K, k
numbers kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from grasp_ray.errors import ConfigError
from grasp_ray.influence.ekfac import EkfacFactors
from grasp_ray.influence.frozen_model import FrozenModel
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.layers.use import OwnOrder
from grasp_ray.influence.layers.workspace import Workspace
from grasp_ray.influence.preconditioners import AdamMoments
from grasp_ray.influence.query_gradients import query_gradients, refuse_if_not_finite
from grasp_ray.influence.replay import checkpoint_preconditioner
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.model import MILModel
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint

if TYPE_CHECKING:
    from grasp_ray.trial.bags import BagBatch


@dataclass(frozen=True)
class MatrixMap:
    """K and S of a parameter seen as a matrix, for training gradients or (inverse S) for queries."""

    left_Ow: Float[Tensor, "O w"]
    right_Iw: Float[Tensor, "I w"]

    def __call__(self, gradient_NP: Float[Tensor, "N P"]) -> Float[Tensor, "N E"]:
        """Of explicit gradients."""
        gradient_NOI = gradient_NP.view(len(gradient_NP), len(self.left_Ow), len(self.right_Iw))
        return (self.left_Ow.T @ gradient_NOI @ self.right_Iw).flatten(1)

    @property
    def entries(self) -> int:
        """E."""
        return self.left_Ow.shape[1] * self.right_Iw.shape[1]


@dataclass(frozen=True)
class VectorMap:
    """S of a parameter that is kept whole."""

    scale_P: Float[Tensor, "P"]

    def __call__(self, gradient_NP: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
        """Of explicit gradients."""
        return gradient_NP * self.scale_P

    @property
    def entries(self) -> int:
        """P."""
        return len(self.scale_P)


ParameterMap = MatrixMap | VectorMap


class Projection:
    """φ and ψ at one checkpoint; the same for the same seed, epoch, names and shapes."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        scales: Mapping[str, Tensor] | None,
        settings: IndexSettings,
        epoch: int,
    ):
        """`scales` is √P by flattened parameter, or None for ones."""
        self.dimension = settings.dimension
        self.training: dict[str, ParameterMap] = {}
        self.queries: dict[str, ParameterMap] = {}
        self.offsets: dict[str, int] = {}
        total = 0
        for name, parameter in parameters.items():
            scale_P = None if scales is None else scales[name]
            generator = _generator(settings.seed, epoch, name)
            pair = _maps(parameter, scale_P, settings.width, generator)
            self.training[name], self.queries[name] = pair
            self.offsets[name] = total
            total += pair[0].entries
        like = next(iter(parameters.values()))
        generator = _generator(settings.seed, epoch, "")
        self.bucket_E = torch.randint(self.dimension, (total,), generator=generator).to(like.device)
        self._sign_E1 = _signs(total, 1, generator).to(like)

    def hashed(self, entries_NE: Float[Tensor, "N E"]) -> Float[Tensor, "N k"]:
        """C."""
        sketch_kN = entries_NE.new_zeros(self.dimension, len(entries_NE))
        sketch_kN.index_add_(0, self.bucket_E, entries_NE.T * self._sign_E1)
        return sketch_kN.T

    def of_queries(self, gradients: Mapping[str, Float[Tensor, "M P"]]) -> Float[Tensor, "M k"]:
        """ψ of explicit, preconditioned query gradients."""
        return self.hashed(torch.cat([self.queries[name](gradients[name]) for name in self.queries], 1))


class Sketch(OwnOrder):
    """The sink that projects: layers' factors before their product, everything else as it comes."""

    additive = True

    def __init__(self, projection: Projection, examples: int, like: Tensor):
        self._projection = projection
        self._entries_BE = like.new_zeros(examples, len(projection.bucket_E))
        self._workspace = Workspace()

    def factors(
        self, parameter: str, delta_BTO: Float[Tensor, "B T O"], x_BTI: Float[Tensor, "B T I"]
    ) -> tuple[Tensor, Tensor]:
        """A δ and B x."""
        matrix = self._projection.training[parameter]
        assert isinstance(matrix, MatrixMap), "only matrices have factors"
        return delta_BTO @ matrix.left_Ow, x_BTI @ matrix.right_Iw

    def room(self, examples: int, entries: int, like: Tensor) -> Tensor:
        """Memory for the next block."""
        return self._workspace.room(examples, entries, like)

    def block(
        self, parameter: str, start: int, gradient_bn: Float[Tensor, "b n"], first_example: int
    ) -> None:
        """Add a projected block."""
        rows = slice(first_example, first_example + len(gradient_bn))
        offset = self._projection.offsets[parameter] + start
        self._entries_BE[rows].narrow(1, offset, gradient_bn.shape[1]).add_(gradient_bn)

    def outer(
        self, parameter: str, output_gradient_BO: Float[Tensor, "B O"], input_BI: Float[Tensor, "B I"]
    ) -> None:
        """Form the product of projected factors."""
        formed_BOI = torch.einsum("bo,bi->boi", output_gradient_BO, input_BI)
        self.block(parameter, 0, formed_BOI.flatten(1), 0)

    def dense(self, parameter: str, start: int, gradient_Bn: Float[Tensor, "B n"]) -> None:
        """Project a gradient that came formed."""
        assert start == 0, "whole parameters only"
        self.block(parameter, 0, self._projection.training[parameter](gradient_Bn), 0)

    def sketch_Bk(self) -> Float[Tensor, "B k"]:
        """φ(g), once the pass is over."""
        return self._projection.hashed(self._entries_BE)


class CheckpointSketch:
    """A model at one checkpoint that compresses training and query gradients. Takes over `model`."""

    def __init__(
        self,
        model: MILModel,
        checkpoint: ReplayCheckpoint,
        influence: InfluenceSettings,
        settings: IndexSettings,
    ):
        if influence.precondition == "less":
            raise ConfigError("a gradient index cannot answer less: it maps each training gradient.")
        scored_only = influence.model_copy(update={"ekfac_self_influence": False})
        self._frozen = FrozenModel(model, checkpoint.weights, scored_only)
        self._checkpoint = checkpoint
        self._dtype = settings.dtype
        parameters = self._frozen.parameters
        scales = None
        if settings.balance:
            if not checkpoint.exp_avg_sq or not checkpoint.step:
                raise ConfigError("the checkpoints hold no Adam moments: set index.balance=false.")
            moments = AdamMoments(checkpoint, parameters, bias_correction=influence.bias_correction)
            scales = {name: weights.sqrt() for name, weights in moments.weights(lambda _: 1.0).items()}
        self._projection = Projection(parameters, scales, settings, checkpoint.epoch)

    def compress(self, batch: "BagBatch") -> pd.DataFrame:
        """One row per image: image_id, epoch, loss, length ‖φ(g)‖ and sketch φ(g)/‖φ(g)‖ [k].

        Raises `NumericalError` naming the first image whose loss or gradient is not finite.
        """
        frames = []
        for bags, image_ids in self._frozen.pieces(batch):
            sink = Sketch(self._projection, len(image_ids), self._frozen.model.pixel_mean)
            loss_B = self._frozen.send(bags, sink)
            sketch_Bk = sink.sketch_Bk()
            length_B = sketch_Bk.norm(dim=1)
            refuse_if_not_finite(loss_B + length_B, image_ids, self._checkpoint.epoch)
            unit_Bk = sketch_Bk / length_B.clamp_min(torch.finfo(length_B.dtype).tiny).unsqueeze(1)
            columns = {
                "image_id": image_ids,
                "epoch": self._checkpoint.epoch,
                "loss": loss_B.double().cpu().numpy(),
                "length": length_B.double().cpu().numpy(),
                "sketch": list(unit_Bk.cpu().numpy().astype(self._dtype)),
            }
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def queries(
        self, queries: pd.DataFrame, query_bags: "BagBatch", factors: EkfacFactors | None = None
    ) -> "CompressedQueries":
        """ψ(P g′) of the queries (columns and bags as for `CheckpointReplay`)."""
        preconditioner = checkpoint_preconditioner(self._frozen, self._checkpoint, factors)
        epoch = self._checkpoint.epoch
        found = query_gradients(self._frozen, preconditioner, queries, query_bags, epoch)
        sketch_Mk = self._projection.of_queries(found.gradients)
        return CompressedQueries(epoch, found.query_ids, sketch_Mk.cpu().numpy())


@dataclass(frozen=True)
class CompressedQueries:
    """The queries at one checkpoint, ready for a matrix product with the index."""

    epoch: int
    query_ids: list[str]
    sketch_Mk: Float[np.ndarray, "M k"]

    def answer(self, part: pd.DataFrame) -> pd.DataFrame:
        """Approximate raw products with the images of one part of the index, shaped as `score` returns them.

        self_dot is missing (NaN): it needs the gradients themselves. self_dot_sgd is missing too.
        """
        unit_Nk = np.stack(part["sketch"].to_list()).astype(self.sketch_Mk.dtype)
        dots_NM = (unit_Nk @ self.sketch_Mk.T) * part["length"].to_numpy()[:, None]
        about = part[["image_id", "epoch", "loss"]].assign(self_dot=np.nan, self_dot_sgd=np.nan)
        assert (about["epoch"] == self.epoch).all(), "queries and index of one checkpoint"
        dots = {f"dot:{name}": dots_NM[:, m] for m, name in enumerate(self.query_ids)}
        return about.assign(**dots)


def _maps(
    parameter: Tensor, scale_P: Tensor | None, width: int, generator: torch.Generator
) -> tuple[ParameterMap, ParameterMap]:
    """The maps of training gradients and of queries."""
    is_position = parameter.ndim == 3 and parameter.shape[0] == 1
    shape = parameter.shape[1:] if is_position else parameter.shape
    scale_P = torch.ones(parameter.numel()).to(parameter) if scale_P is None else scale_P
    if len(shape) < 2:
        return VectorMap(scale_P), VectorMap(1 / scale_P)
    scale_OI = scale_P.view(shape[0], -1)
    row_O1, column_I1 = _rank_one(scale_OI)
    left_Ow = _reduction(scale_OI.shape[0], width, generator).to(scale_OI)
    right_Iw = _reduction(scale_OI.shape[1], width, generator).to(scale_OI)
    return (
        MatrixMap(left_Ow * row_O1, right_Iw * column_I1),
        MatrixMap(left_Ow / row_O1, right_Iw / column_I1),
    )


def _rank_one(scale_OI: Float[Tensor, "O I"]) -> tuple[Float[Tensor, "O 1"], Float[Tensor, "I 1"]]:
    """a and b with a_o b_i nearest to s_oi in logarithms."""
    logarithm_OI = scale_OI.double().log()
    row_O1 = logarithm_OI.mean(1, keepdim=True)
    column_I1 = logarithm_OI.mean(0).unsqueeze(1) - logarithm_OI.mean()
    return row_O1.exp().to(scale_OI), column_I1.exp().to(scale_OI)


def _reduction(size: int, width: int, generator: torch.Generator) -> Float[Tensor, "size w"]:
    """Random signs over √w; the identity where there is nothing to reduce."""
    return torch.eye(size) if size <= width else _signs(size, width, generator) / width**0.5


def _signs(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, (rows, columns), generator=generator) - 1.0


def _generator(seed: int, epoch: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{epoch}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
