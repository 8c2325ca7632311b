"""dattri's TracInAttributor over all parameters, self-influence in a pass of its own.

It differentiates by one flat vector of all parameters. Each parameter is a slice of it, whose backward pass
fills a whole vector: per image, P entries times the number of parameters.
"""

import torch
import torch.nn.functional as F
from engine_subject import Scores, Subject
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader

from peers.contender import Classifier, Contender, Pairs

IMAGES = 2
"""Slow enough to be measured on these; batches of 1 and 4 are slower per image."""


def tracin(subject: Subject) -> Contender:
    """The first two images, in one batch.

    Its constructor always turns random projection on (512 dimensions, new matrices for every pair of
    batches). It is turned off here, which makes the scores exact and the pass faster.
    """
    from dattri.algorithm import tracin as module
    from dattri.task import AttributionTask

    model, bags, asked = Classifier(subject), subject.bags, subject.query_bags
    module.tqdm = lambda batches, **_: batches

    def loss(parameters: dict[str, Tensor], pair: tuple[Tensor, Tensor]) -> Tensor:
        image, label = pair
        logits = functional_call(model, parameters, (image.unsqueeze(0),))
        return F.cross_entropy(logits, label.unsqueeze(0))

    task = AttributionTask(loss, model, model.state_dict())
    attributor = module.TracInAttributor(task, weight_list=torch.ones(1), normalized_grad=False)
    attributor.projector_kwargs = None
    gradients = subject.query_gradients()
    queries = torch.cat([gradients[name] for name, _ in model.named_parameters()], 1)
    attributor.grad_target_func = lambda *_: queries  # it computes them again for every batch of images

    train = DataLoader(Pairs(bags.images_BCHW[:IMAGES], bags.label_V[:IMAGES]), batch_size=IMAGES)
    test = DataLoader(Pairs(asked.images_BCHW, asked.label_V), batch_size=len(asked.label_V))

    def scores() -> Scores:
        return attributor.attribute(train, test), torch.zeros(IMAGES)

    return Contender(scores, IMAGES, model.parameter_names(), weighted=True)
