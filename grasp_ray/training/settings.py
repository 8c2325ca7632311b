"""Settings of training; the defaults are GRASP-PsONet's recipe."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from grasp_ray.settings import Settings


class TrainSettings(Settings):
    """Adam on the mean cross-entropy of a step's visits; the model of the best validation AUC is kept."""

    epochs: PositiveInt = 100
    """Passes over the training visits; each draws as many visits as there are."""

    batch_size_visits: PositiveInt = 4
    """Visits per optimizer step, over all workers together."""

    learning_rate: float = Field(default=1e-6, gt=0)
    """Adam's step size, constant over training."""

    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 penalty that Adam adds to the gradient (torch.optim.Adam's, not AdamW's)."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moments, each in [0, 1)."""

    eps: float = Field(default=1e-8, gt=0)
    """Adam's ε, added to √v."""

    sampling: Literal["inverse_class_frequency", "uniform"] = "inverse_class_frequency"
    """How an epoch draws visits: with replacement, every class as often on average, or each visit once."""

    augment: Literal["none", "flip"] = "none"
    """`flip` mirrors a photo left–right in half of the epochs, drawn from (seed, epoch, image id)."""

    batch_norm: Literal["frozen", "per_worker"] = "frozen"
    """Batch-norm statistics of encoders that have them: kept as loaded, or updated from each worker's photos.

    Only `frozen` makes the weights independent of the number of workers and the replayed gradients those of
    training. It suits loaded weights; random ones have no statistics, and only a shallow encoder learns well
    with its norms as plain scales. The affine weights are trained in both.
    """

    replay_checkpoints: PositiveInt = 10
    """Checkpoints kept for influence, evenly spaced over the epochs, the last epoch included."""

    num_workers: PositiveInt = 4
    """Worker processes of one training (DistributedDataParallel ranks)."""

    threads_per_worker: PositiveInt = 1
    """CPU threads of each worker, and the CPUs it reserves in Ray. Results are equal to the bit for the same
    number only; another one rounds otherwise."""

    use_gpu: bool | Literal["auto"] = "auto"
    """A GPU for each worker: `true`, `false`, or `auto` (whether the cluster has any)."""

    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`bf16` computes in mixed precision; `auto` does so on a GPU that has it. Weights stay float32."""

    max_failures: int = Field(default=3, ge=-1)
    """How often Ray restarts the workers after a crash, from the last finished epoch; −1 is without limit."""

    seed: NonNegativeInt = 0
    """Of the initial weights, the draws and the augmentation."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must lie in [0, 1)")
        if self.replay_checkpoints > self.epochs:
            raise ValueError(
                f"replay_checkpoints={self.replay_checkpoints} exceeds epochs={self.epochs}: "
                f"set it to at most {self.epochs}"
            )
        return self

    @property
    def replay_epochs(self) -> tuple[int, ...]:
        """Epochs (1-based, after which) a replay checkpoint is written; the last epoch is one of them."""
        count = self.replay_checkpoints
        return tuple(-(-self.epochs * part // count) for part in range(1, count + 1))
