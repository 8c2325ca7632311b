"""Settings of the influence pass (GRASP-PsONet Alg. 1); defaults are the paper's unless a field says so."""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator

from grasp_ray.settings import Settings

ParameterChoice = Literal["all", "head", "projection_and_head", "last_stage"]


class InfluenceSettings(Settings):
    """Which gradients are compared, how they are weighted, and how the pass runs."""

    precondition: Literal["adam", "paper", "sgd", "less", "ekfac"] = "adam"
    """Product of two gradients: `adam` Σ g′g/(√v+ε); `paper` Σ m/(√v+ε)·g′g, the printed line 7, whose sign
    depends on the sign of each weight's m; `sgd` Σ g′g (TracInCP); `less` g′·Γ(z) with z's own Adam step
    (LESS); `ekfac` g′ times a damped inverse curvature."""

    bias_correction: bool = True
    """Whether Adam's moments m and v are bias-corrected, as the optimizer itself uses them."""

    less_cosine: bool = False
    """With `less`: divide by the lengths of both gradients."""

    ekfac_damping: NonNegativeFloat = 0.1
    """With `ekfac`: added to the curvature, as a share of its mean eigenvalue in each parameter."""

    ekfac_images: PositiveInt = 1024
    """With `ekfac`: training images that the curvature is fitted on, per checkpoint."""

    ekfac_self_influence: bool = True
    """With `ekfac`: whether self-influence is computed too, which alone costs extra; else it is missing."""

    exposure: Literal["count", "any", "none"] = "count"
    """How often an image counts per checkpoint: times its visit was drawn since the previous one, at most
    once, or always once."""

    unit: Literal["singleton", "in_bag"] = "in_bag"
    """Gradient of one image: its exact share of its visit's gradient, or, as in the paper, that of a bag that
    holds it alone. The former foretells better what a retraining does (docs/evidence.md)."""

    query_visits: Literal["misclassified", "all"] = "misclassified"
    """Validation visits whose most attended image is a query."""

    query_label: Literal["true", "predicted"] = "true"
    """Label in the query's loss."""

    parameters: ParameterChoice | tuple[str, ...] = "all"
    """Parameters whose gradients are compared: all; `head`; `projection_and_head`; `last_stage` (of the
    encoder, and everything behind it); or name patterns such as ['encoder.blocks.11.*', 'head.*']."""

    dtype: Literal["float32", "float64", "bf16", "tf32"] = "float32"
    """Arithmetic of the pass. float32 is exact to rounding; bf16 and tf32 trade accuracy for speed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where the process sees one."""

    images_per_batch: PositiveInt | Literal["auto"] = "auto"
    """Images in one forward and backward pass. Scores do not depend on it. `auto` is 32 on a CPU; on a GPU it
    is doubled until the throughput grows by less than 5 %."""

    memory_mib: PositiveInt | None = None
    """Memory an actor may use; by default its share of the machine's, or of its GPU's. It decides how many
    checkpoints and queries are held at once, never the scores."""

    images_per_shard: PositiveInt = Field(default=512)
    """Images, in whole visits, whose raw results are committed together."""

    def identity(self) -> dict[str, Any]:
        """The settings that decide the numbers; the others decide only how they are computed."""
        return self.model_dump(mode="json", exclude={"device", "images_per_batch", "memory_mib"})

    @field_validator("query_label", mode="before")
    @classmethod
    def _yaml_true_is_a_word(cls, value: Any) -> Any:
        return "true" if value is True else value
