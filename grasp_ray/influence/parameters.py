"""Which of the model's parameters take part in the comparison of gradients."""

import fnmatch
import re

from torch import nn

from grasp_ray.errors import ConfigError
from grasp_ray.influence.settings import ParameterChoice
from grasp_ray.mil.model import MILModel

_STAGE = re.compile(r"encoder\.(stages|blocks|layers|layer|features)\.?\d+\.")
_PREFIXES = {"head": ("head.",), "projection_and_head": ("projection.", "head.")}


def choose_parameters(model: MILModel, choice: ParameterChoice | tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The chosen parameters by name, in the model's order.

    `last_stage` is the encoder's last stage and whatever follows it, the projection, the attention and the
    head. Patterns are those of fnmatch. Raises `ConfigError` for a pattern that matches nothing.
    """
    parameters = dict(model.named_parameters())
    if choice == "all":
        return parameters
    if choice == "last_stage":
        chosen = _last_stage(model)
    elif isinstance(choice, str):
        chosen = {name for name in parameters if name.startswith(_PREFIXES[choice])}
    else:
        chosen = _matching(parameters, choice)
    return {name: parameter for name, parameter in parameters.items() if name in chosen}


def _last_stage(model: MILModel) -> set[str]:
    """Names from the first parameter of the encoder's last numbered stage on."""
    names = [name for name, _ in model.named_parameters()]
    stages = [found.group() for found in map(_STAGE.match, names) if found]
    if not stages:
        raise ConfigError(
            "influence.parameters=last_stage: this encoder numbers no stages, blocks or layers. "
            "List name patterns instead."
        )
    first = min(index for index, name in enumerate(names) if name.startswith(stages[-1]))
    return set(names[first:])


def _matching(parameters: dict[str, nn.Parameter], patterns: tuple[str, ...]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(parameters, pattern)
        if not found:
            some = ", ".join(list(parameters)[:3])
            raise ConfigError(
                f"influence.parameters: {pattern!r} matches no parameter (there are {some}, …)."
            )
        chosen.update(found)
    return chosen
