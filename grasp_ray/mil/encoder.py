"""timm encoders without their classifier, with weights by name, from a file, or none."""

import difflib

import safetensors.torch
import timm
from safetensors import SafetensorError
from torch import nn

from grasp_ray.errors import ConfigError
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage


def build_encoder(settings: ModelSettings, image_side_px: int) -> nn.Module:
    """Return an encoder [B, 3, side, side] → [B, F]; F is its `num_features`.

    Raises `ConfigError` for an unknown name, options that timm refuses, or weights that do not fit.
    """
    options = dict(settings.encoder_options)
    config = _pretrained_config(settings.encoder)
    if config is not None and config.fixed_input_size:  # position embeddings depend on the side
        options.setdefault("img_size", image_side_px)
    try:
        encoder: nn.Module = timm.create_model(
            settings.encoder,
            pretrained=settings.weights == "imagenet",
            num_classes=0,
            **options,
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"model.encoder={settings.encoder} cannot be built with {options}: {error}"
        ) from error
    except OSError as error:  # a download that fails
        raise ConfigError(
            f"no ImageNet weights of {settings.encoder} could be fetched ({error}). "
            "Set model.weights=<path of a safetensors file> or model.weights=none."
        ) from error
    if settings.weights not in ("imagenet", "none"):
        _load_weights(encoder, settings.weights)
    return encoder


def _pretrained_config(name: str) -> "timm.models.PretrainedCfg | None":
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"model.encoder={name} is not a timm model.{hint}")
    return timm.get_pretrained_cfg(name, allow_unregistered=True)


def _load_weights(encoder: nn.Module, uri: str) -> None:
    folder, _, name = uri.rpartition("/")
    content = Storage.at(folder or ".").read_bytes(name)
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ConfigError(f"model.weights={uri} is not a safetensors file: {error}") from error
    try:
        encoder.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first_lines = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"model.weights={uri} does not fit the encoder: {first_lines}. "
            "Check model.encoder and model.encoder_options."
        ) from error
