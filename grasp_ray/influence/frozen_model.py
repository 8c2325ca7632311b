"""A model with one checkpoint's weights, ready to send gradients: device, precision, and the parameters
followed.

Shapes: B images.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from grasp_ray.influence.coverage import CoveredParameters, cover
from grasp_ray.influence.engine import send_gradients
from grasp_ray.influence.layers.use import GradientSink
from grasp_ray.influence.parameters import choose_parameters
from grasp_ray.influence.precision import (
    chosen_device,
    forward_precision,
    matrix_precision,
    parameter_dtype,
)
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.influence.units import Bags
from grasp_ray.mil.model import MILModel

if TYPE_CHECKING:
    from grasp_ray.trial.bags import BagBatch

CPU_IMAGES_PER_BATCH = 32
"""What `influence.images_per_batch=auto` means where nothing was measured."""


class FrozenModel:
    """Takes over `model`: its weights are replaced, and it is frozen."""

    def __init__(self, model: MILModel, weights: dict[str, Tensor], settings: InfluenceSettings):
        self.settings = settings
        asked = settings.images_per_batch
        self.images_per_batch = CPU_IMAGES_PER_BATCH if asked == "auto" else asked
        self.device = chosen_device(settings)
        model.load_state_dict(weights)
        self.model = model.to(self.device, parameter_dtype(settings)).eval().requires_grad_(False)
        chosen = choose_parameters(self.model, settings.parameters)
        self.parameters: dict[str, Tensor] = {name: value.detach() for name, value in chosen.items()}
        """The followed parameters by name."""
        self._chosen = chosen
        self._covered: CoveredParameters | None = None

    def bags(self, batch: "BagBatch") -> Bags:
        """Normalised photos on the device."""
        images_BCHW = self.model.normalise(batch.photos_BHWC.to(self.device))
        return Bags(images_BCHW, batch.presence_VN.to(self.device), batch.labels_V.to(self.device))

    def pieces(self, batch: "BagBatch") -> Iterator[tuple[Bags, list[str]]]:
        """What goes through the model at once, with its image ids.

        Bags of one image, at most `images_per_batch` of them; under `in_bag`, the whole batch.
        """
        bags = self.bags(batch)
        if self.settings.unit == "in_bag":
            yield bags, batch.image_ids
            return
        step = self.images_per_batch
        for first in range(0, len(batch.image_ids), step):
            image_ids = batch.image_ids[first : first + step]
            yield bags.singletons(list(range(first, first + len(image_ids)))), image_ids

    def send(self, bags: Bags, sink: GradientSink) -> Float[Tensor, "B"]:
        """Send every image's gradients to `sink`; return the losses."""
        if self._covered is None:
            self._covered = cover(self.model, self._chosen, tuple(bags.images_BCHW.shape[1:]))
        forward = forward_precision(self.settings, self.device)
        with matrix_precision(self.settings):
            return send_gradients(self.model, self._covered, self.settings.unit, bags, sink, forward)
