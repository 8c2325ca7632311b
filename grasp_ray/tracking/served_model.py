"""The model as it is handed over: one visit's photos in, class probabilities out, exported without pickle.

Shapes: N photos of the visit (any number), H = W image side, D embedding, K classes.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from grasp_ray.mil.model import MILModel


class VisitClassifier(nn.Module):
    """A trained model without slots and presence: every photo given is present.

    It computes what `MILModel` computes for a visit with N images (a test holds the two equal), in operations
    whose shapes depend on N alone, so that torch.export can trace it for any N.
    """

    def __init__(self, model: MILModel):
        super().__init__()
        self.model = model

    def forward(self, photos_NHWC: UInt8[Tensor, "N H W 3"]) -> Float[Tensor, "K"]:
        """Class probabilities of one visit from its photos, as the photo store holds them."""
        embedding_ND = self.model.embed(self.model.normalise(photos_NHWC))
        attention_N = torch.softmax(self.model.attention(embedding_ND), dim=0)
        probability_K: Tensor = torch.softmax(self.model.head(attention_N @ embedding_ND), dim=0)
        return probability_K
