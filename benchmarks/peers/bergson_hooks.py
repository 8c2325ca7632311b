"""bergson's hook collector with its in-memory scorer: Linear layers over tokens, with preconditioned queries.

It asserts inputs [N, S, I], which leaves out linear layers of whole images, convolutions, norms and bare
parameters.
"""

import torch
import torch.nn.functional as F
from engine_subject import Scores, Subject
from torch import Tensor, nn

from peers.contender import Classifier, Contender


def token_linears(subject: Subject) -> Contender | None:
    """All images in one batch; None where no linear layer reads tokens."""
    from bergson import GradientProcessor, IndexConfig, InMemoryCollector, Scorer
    from bergson.score.score_writer import InMemorySequenceScoreWriter
    from datasets import Dataset

    model, bags = Classifier(subject), subject.bags
    names = _token_linears(model, bags.images_BCHW[:1])
    if not names:
        return None
    count, parameters = len(bags.label_V), dict(model.named_parameters())
    model.device = torch.device("cpu")
    model.requires_grad_(False)  # as bergson does, with one early parameter to start the graph
    next(model.parameters()).requires_grad_(True)

    gradients = subject.query_gradients()
    queries = {name: _weight_and_bias(gradients, name, parameters[f"{name}.weight"]) for name in names}
    writer = InMemorySequenceScoreWriter(count, len(subject.query_bags.label_V))
    collector = InMemoryCollector(
        model=model,
        data=Dataset.from_dict({"row": list(range(count))}),
        cfg=IndexConfig(run_path="unused", include_bias=True),
        target_modules=set(names),
        processor=GradientProcessor(include_bias=True),
        scorer=Scorer(queries, names, writer, torch.device("cpu"), torch.float32),
    )

    def scores() -> Scores:
        with collector:
            losses = F.cross_entropy(model(bags.images_BCHW), bags.label_V, reduction="none")
            losses.sum().backward()
        model.zero_grad(set_to_none=True)
        collector.process_batch(list(range(count)), losses=losses)
        return writer.scores.clone(), torch.zeros(count)

    covered = frozenset(f"{name}.{part}" for name in names for part in ("weight", "bias"))
    return Contender(scores, count, covered & model.parameter_names(), weighted=True)


def _token_linears(model: nn.Module, image: Tensor) -> list[str]:
    """Linear layers whose input is [N, S, I]."""
    found: list[str] = []
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: found.append(name) if inputs[0].ndim == 3 else None
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    model(image)
    for handle in handles:
        handle.remove()
    return found


def _weight_and_bias(gradients: dict[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """Its layout: [M, O·(I + 1)], the bias as the last column."""
    matrix = gradients[f"{name}.weight"].view(-1, *weight.shape)
    if f"{name}.bias" not in gradients:
        return matrix.flatten(1)
    return torch.cat([matrix, gradients[f"{name}.bias"].unsqueeze(2)], 2).flatten(1)
