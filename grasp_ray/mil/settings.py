"""Settings of the model's architecture and initial weights."""

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from grasp_ray.settings import Settings


class ModelSettings(Settings):
    """Encoder → projection → attention → classes; the defaults are GRASP-PsONet's ConvNeXt."""

    encoder: str = "convnext_tiny"
    """Name of any timm model that can be built without its classifier."""

    encoder_options: dict[str, Any] = Field(default_factory=dict)
    """Extra arguments of timm.create_model, such as pad_type or bn_eps."""

    weights: str = "imagenet"
    """`imagenet` (timm's download), `none`, or the path or URI of a safetensors file."""

    embedding_dim: PositiveInt = 768
    """D, the width of an instance's embedding after the projection."""

    attention: Literal["mlp", "gated"] = "mlp"
    """Energy of an instance: wᵀtanh(Vh), or wᵀ(tanh(Vh) ⊙ σ(Uh)) (Ilse et al. 2018, Eq. 8, 9)."""

    attention_dim: PositiveInt = 256
    """Rows of V and U."""

    absent_images: Literal["pre_softmax", "post_softmax"] = "pre_softmax"
    """Where the presence vector acts: energies of −∞ before the softmax, or weights of 0 after it."""

    head_hidden_dim: PositiveInt = 256
    """Width of the classifier's hidden layer."""

    class_names: tuple[str, ...] = Field(default=("mild", "moderate", "severe"), min_length=2)
    """Names of classes 0, 1, …, in ascending severity."""

    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per-channel mean subtracted from RGB in [0, 1]; ImageNet's."""

    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Per-channel divisor after the mean; ImageNet's."""

    @field_validator("encoder_options")
    @classmethod
    def _options_say_something(cls, options: dict[str, Any]) -> dict[str, Any]:
        empty = [name for name, value in options.items() if value is None]  # timm would drop them unseen
        if empty:
            raise ValueError(f"{', '.join(empty)} has no value; write {{name: value}} with a space")
        return options
