"""One checkpoint replayed over photos: raw gradient products of every image with every query.

`CheckpointReplay` knows nothing of exposure, learning rate or batch size; `scores.py` applies those.

Shapes: V visits, N slots, B images, M queries, P entries of a parameter.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pandas as pd

from grasp_ray.errors import ConfigError
from grasp_ray.influence.ekfac import Ekfac, EkfacFactors
from grasp_ray.influence.ekfac_fit import fit_ekfac
from grasp_ray.influence.frozen_model import FrozenModel
from grasp_ray.influence.preconditioners import Preconditioner, build_preconditioner
from grasp_ray.influence.product_sinks import product_sinks
from grasp_ray.influence.query_gradients import query_gradients, refuse_if_not_finite
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.influence.sinks import Gram
from grasp_ray.influence.units import Bags
from grasp_ray.mil.model import MILModel
from grasp_ray.training.replay_checkpoint import ReplayCheckpoint

if TYPE_CHECKING:
    from grasp_ray.trial.bags import BagBatch


class CheckpointReplay:
    """A model at one checkpoint together with the preconditioned gradients of all queries.

    Takes over `model`: its weights are replaced by the checkpoint's, and it is frozen. `queries` has the
    columns query_id, visit_id, image_id and query_label; `query_bags` holds the photos of the queries'
    visits: all of them under `in_bag`, at least the query images under `singleton`. It may be None when
    there is no query. `ekfac` are the factors that precondition=ekfac needs (`fit_checkpoint_ekfac`).
    """

    def __init__(
        self,
        model: MILModel,
        checkpoint: ReplayCheckpoint,
        settings: InfluenceSettings,
        queries: pd.DataFrame,
        query_bags: "BagBatch | None",
        ekfac: EkfacFactors | None = None,
    ):
        self.epoch = checkpoint.epoch
        self._frozen = FrozenModel(model, checkpoint.weights, settings)
        self._preconditioner = checkpoint_preconditioner(self._frozen, checkpoint, ekfac)
        found = query_gradients(self._frozen, self._preconditioner, queries, query_bags, self.epoch)
        self.query_ids = found.query_ids
        shapes = {name: parameter.shape for name, parameter in self._frozen.parameters.items()}
        self._product_sink = product_sinks(found.gradients, self._preconditioner, shapes, found.lengths_M)

    def score(self, batch: "BagBatch") -> pd.DataFrame:
        """Raw results of one batch, a row per image.

        Columns: image_id, epoch, loss (of the unit), self_dot ⟨g, g⟩_P, self_dot_sgd ‖g‖², and dot:<query_id>
        ⟨g′, g⟩_P for each query. Raises `NumericalError` naming the first image whose loss or gradient is not
        finite.
        """
        frames = [self._score(bags, image_ids) for bags, image_ids in self._frozen.pieces(batch)]
        return pd.concat(frames, ignore_index=True)

    def gram(self, batch: "BagBatch") -> pd.DataFrame:
        """⟨g_i, g_j⟩_P for all pairs of images of one visit (with `less`, g_i · Γ(z_j)).

        Columns: epoch, visit_id, image_id (i), other_image_id (j), dot.
        """
        if not self._preconditioner.knows_self_influence:
            raise ConfigError("self-influence matrices need influence.ekfac_self_influence=true.")
        bags = self._frozen.bags(batch)
        frames = []
        for row, visit_id in enumerate(batch.visit_ids):
            examples = (bags.visit_B == row).nonzero()[:, 0].tolist()
            image_ids = [batch.image_ids[example] for example in examples]
            alone = self._frozen.settings.unit == "singleton"
            visit = bags.singletons(examples) if alone else bags.visit(row)
            sink = Gram(self._preconditioner, len(image_ids), self._frozen.device)
            loss_B = self._frozen.send(visit, sink)
            refuse_if_not_finite(loss_B + sink.gram_BB.diagonal(), image_ids, self.epoch)
            pairs = pd.MultiIndex.from_product([image_ids, image_ids], names=["image_id", "other_image_id"])
            frame = pairs.to_frame(index=False).assign(dot=sink.gram_BB.flatten().cpu().numpy())
            frames.append(frame.assign(epoch=self.epoch, visit_id=visit_id))
        columns = ["epoch", "visit_id", "image_id", "other_image_id", "dot"]
        return pd.concat(frames, ignore_index=True)[columns]

    def _score(self, bags: Bags, image_ids: list[str]) -> pd.DataFrame:
        sink = self._product_sink(len(image_ids))
        loss_B = self._frozen.send(bags, sink)
        products = sink.products()
        refuse_if_not_finite(loss_B + products.squared_norm_B, image_ids, self.epoch)
        columns = {
            "image_id": image_ids,
            "epoch": self.epoch,
            "loss": loss_B.double().cpu().numpy(),
            "self_dot": products.self_B.cpu().numpy(),
            "self_dot_sgd": products.squared_norm_B.cpu().numpy(),
        }
        dots_MB = products.dots_BM.T.cpu().numpy()
        dots = {f"dot:{name}": dots_B for name, dots_B in zip(self.query_ids, dots_MB, strict=True)}
        return pd.DataFrame(columns | dots)


def fit_checkpoint_ekfac(
    model: MILModel,
    checkpoint: ReplayCheckpoint,
    settings: InfluenceSettings,
    batches: Callable[[], Iterable["BagBatch"]],
) -> EkfacFactors:
    """Fit EK-FAC at a checkpoint on the training bags that `batches` yields; it is called twice.

    Takes over `model`. The bags should hold about `influence.ekfac_images` images, the same ones every time.
    """
    frozen = FrozenModel(model, checkpoint.weights, settings)
    sizes = {name: parameter.numel() for name, parameter in frozen.parameters.items()}

    def pieces() -> Iterator[Bags]:
        for batch in batches():
            for bags, _ in frozen.pieces(batch):
                yield bags

    return fit_ekfac(frozen.model, settings.unit, sizes, pieces, frozen.send)


def checkpoint_preconditioner(
    frozen: FrozenModel, checkpoint: ReplayCheckpoint, factors: EkfacFactors | None
) -> Preconditioner:
    """The preconditioner of `influence.precondition`; `ekfac` needs `factors`."""
    settings = frozen.settings
    if settings.precondition != "ekfac":
        return build_preconditioner(settings, checkpoint, frozen.parameters)
    if factors is None:
        raise ConfigError("influence.precondition=ekfac needs factors fitted at this checkpoint.")
    return Ekfac(
        factors,
        frozen.parameters,
        damping=settings.ekfac_damping,
        rotate=settings.ekfac_self_influence,
    )
