"""kronfluence with an identity factor: plain TracIn over Linear and Conv2d, self-influence in another pass.

It leaves out norms, layer scale and position or class tokens. It averages the groups' inputs of a grouped
convolution before it forms the gradient, which is wrong on depthwise convolutions.
"""

import torch
import torch.nn.functional as F
from engine_subject import Scores, Subject
from torch import Tensor, nn
from torch.utils.data import DataLoader

from peers.contender import Classifier, Contender, Pairs

Batch = tuple[Tensor, Tensor]


def identity_factor(subject: Subject, *, depthwise_only: bool = False) -> Contender | None:
    """Pairwise scores, all images in one batch; None if asked for depthwise layers of a model without any."""
    from kronfluence.analyzer import prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.module.tracked_module import ModuleMode, TrackedModule
    from kronfluence.module.utils import (
        accumulate_iterations,
        set_mode,
        update_factor_args,
        update_score_args,
    )
    from kronfluence.score import dot_product
    from kronfluence.task import Task
    from kronfluence.utils.constants import ACCUMULATED_PRECONDITIONED_GRADIENT_NAME, ALL_MODULE_NAME
    from kronfluence.utils.state import State

    class Classification(Task):
        def compute_train_loss(self, batch: Batch, model: nn.Module, sample: bool = False) -> Tensor:
            return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch: Batch, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str]:
            return names

    # full garbage collections, a few per pass over a data set, would outweigh a pass over 64 images
    dot_product.release_memory = lambda: None
    model, task, bags = Classifier(subject), Classification(), subject.bags
    names = _supported(model, depthwise_only)
    if not names:
        return None
    covered = model.parameter_names() & {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    model = prepare_model(model, task)
    factor_args, score_args = FactorArguments(strategy="identity"), ScoreArguments()
    update_factor_args(model, factor_args)
    update_score_args(model, score_args)

    set_mode(model, ModuleMode.PRECONDITION_GRADIENT, names, release_memory=True)
    asked = (subject.query_bags.images_BCHW, subject.query_bags.label_V)
    task.compute_measurement(asked, model).backward()
    accumulate_iterations(model, names)
    slot = ACCUMULATED_PRECONDITIONED_GRADIENT_NAME
    queries = [(m.storage, m.storage[slot]) for m in model.modules() if isinstance(m, TrackedModule)]

    count = len(bags.label_V)
    loader = DataLoader(Pairs(bags.images_BCHW, bags.label_V), batch_size=count)
    state, scaler = State(cpu=True), torch.amp.GradScaler("cpu", enabled=False)

    def scores() -> Scores:
        for storage, gradient in queries:  # it drops them after every pass
            storage[slot] = gradient
        found = dot_product.compute_dot_products_with_loader(
            model, task, state, loader, factor_args, score_args, names, scaler, disable_tqdm=True
        )
        return found[ALL_MODULE_NAME].T, torch.zeros(count)

    return Contender(scores, count, covered, weighted=False)


def _supported(model: nn.Module, depthwise_only: bool) -> list[str]:
    """Names of the modules that it tracks by itself, in its order; or of the grouped ones among them."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and (getattr(module, "groups", 1) > 1 or not depthwise_only)
    ]
