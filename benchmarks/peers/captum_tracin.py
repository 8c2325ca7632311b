"""captum's TracInCP: plain TracIn, one backward pass per image, self-influence in another pass.

Its faster way (sample_wise_grads_per_batch) takes no depthwise convolution, norm or bare parameter.
"""

import copy

import torch
from engine_subject import Scores, Subject
from torch import nn

from peers.contender import Classifier, Contender, Pairs


def tracincp(subject: Subject, *, batch_size: int) -> Contender:
    """TracInCP on all images, at one batch size."""
    from captum.influence import TracInCP
    from captum.influence._utils import common

    # its own flattening (view) fails on gradients in channels-last order
    common._tensor_batch_dot = lambda first, second: first.flatten(1) @ second.flatten(1).T

    model, bags, asked = Classifier(subject), subject.bags, subject.query_bags
    count, saved = len(bags.label_V), copy.deepcopy(model.state_dict())

    def load(model: nn.Module, path: str) -> float:
        """For every batch and checkpoint; from memory, which is the fastest."""
        model.load_state_dict(saved)
        return 1.0

    tracin = TracInCP(
        model,
        Pairs(bags.images_BCHW, bags.label_V),
        ["the only one"],
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=batch_size,
        sample_wise_grads_per_batch=False,
    )
    # `influence` is the next line and the loop in `scores`; apart here, since queries are not timed
    loader = torch.utils.data.DataLoader(
        Pairs(asked.images_BCHW, asked.label_V), batch_size=len(asked.label_V)
    )
    queries = tracin._get_checkpoint_jacobians(loader, False, tracin.test_loss_fn)

    def scores() -> Scores:
        dots = [tracin._influence_batch_tracincp(queries, batch) for batch in tracin.train_dataloader]
        return torch.cat(dots, 1).T.detach(), torch.zeros(count)

    return Contender(scores, count, model.parameter_names(), weighted=False)
