"""Probabilities and attention of a model over bags.

Shapes: V visits, N slots, B present photos in row-major order of the presence matrix, K classes.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from grasp_ray.errors import NumericalError
from grasp_ray.mil.model import MILModel
from grasp_ray.trial.bags import BagBatch


@dataclass(frozen=True)
class Prediction:
    """Frames whose rows carry ids."""

    predictions: pd.DataFrame
    """visit_id, probability_0 … probability_{K−1} (sum 1), predicted (the likeliest; on a tie the lowest)."""
    attention: pd.DataFrame
    """image_id, visit_id, attention (over a visit's present photos; sums to 1 with `pre_softmax`)."""
    embeddings: pd.DataFrame
    """visit_id, embedding: z = Σ a_i h_i of the visit, a list of D float32."""


@torch.inference_mode()
def predict_bags(model: MILModel, batch: BagBatch) -> Prediction:
    """Predict every visit of a batch in float32, on the model's device; the model ends in evaluation mode.

    Raises `NumericalError` naming the first visit whose probabilities are not finite.
    """
    model.eval()
    device = model.pixel_mean.device
    presence_VN = batch.presence_VN.to(device)
    output = model(model.normalise(batch.photos_BHWC.to(device)), presence_VN)
    probability_VK = torch.softmax(output.logits_VK.double(), dim=1).cpu().numpy()
    finite_V = torch.isfinite(output.logits_VK).all(dim=1).tolist()
    if not all(finite_V):
        raise NumericalError(
            f"the model gives visit {batch.visit_ids[finite_V.index(False)]} a probability that is not "
            "finite. Look at the arm's history.parquet; train it again with a lower train.learning_rate."
        )
    predictions = pd.DataFrame({"visit_id": batch.visit_ids})
    for class_index in range(probability_VK.shape[1]):
        predictions[f"probability_{class_index}"] = probability_VK[:, class_index]
    predictions["predicted"] = probability_VK.argmax(axis=1)
    photos_V = batch.presence_VN.sum(dim=1).tolist()
    visit_of_photo = [v for v, n in zip(batch.visit_ids, photos_V, strict=True) for _ in range(n)]
    attention = pd.DataFrame(
        {
            "image_id": batch.image_ids,
            "visit_id": visit_of_photo,
            "attention": output.attention_VN[presence_VN].double().cpu().numpy(),
        }
    )
    embeddings = pd.DataFrame({"visit_id": batch.visit_ids, "embedding": list(output.z_VD.cpu().numpy())})
    return Prediction(predictions, attention, embeddings)
