"""One training, epoch by epoch, in plain torch: alone in a process, or as one of several DDP ranks.

    w ← Adam(w, ∇ 1/|S| Σ_{z∈S} ℓ(z; w))   for each step's visits S, whichever worker holds them

Nothing is written here. Shapes: S draws of an epoch, V visits of a step, K classes, N slots, B photos.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from grasp_ray.mil.model import MILModel, MILOutput
from grasp_ray.training.augmentation import flip_photos
from grasp_ray.training.dynamics import draw_losses, dynamics_rows, require_finite
from grasp_ray.training.feeding import SplitBags
from grasp_ray.training.ranks import ALONE, CPU, Ranks
from grasp_ray.training.sampling import epoch_draws
from grasp_ray.training.settings import TrainSettings
from grasp_ray.training.validation_metrics import linear_kappa, micro_auc
from grasp_ray.trial.bags import BagBatch

OnStep = Callable[[int], None]
"""Called after each step with the number of photos this worker processed in it."""


@dataclass(frozen=True)
class ValidationResult:
    """How the model does on the validation visits (reader 1's labels)."""

    loss: float
    auc: float
    """Micro-average."""
    kappa: float | None
    """Linear weights; None where undefined."""


class TrainingLoop:
    """Model and optimizer of one training, as this worker holds them."""

    def __init__(
        self,
        model: MILModel,
        training: SplitBags,
        validation: SplitBags,
        settings: TrainSettings,
        *,
        seed: int,
        device: torch.device = CPU,
        ranks: Ranks = ALONE,
        loss_weights: Mapping[str, float] | None = None,
    ):
        """`seed` decides the draws and the augmentation. Every worker passes equal weights.

        `loss_weights` multiply visits' losses, 1 where a visit is not named. Weight 0 takes a visit out while
        every step keeps its other visits and its divisor.
        """
        self.model = model.to(device)
        self.training, self.validation = training, validation
        self.settings, self.seed, self.device, self.ranks = settings, seed, device, ranks
        self.loss_weights = loss_weights or {}
        self.step = 0
        self.autocast_dtype = autocast_dtype(settings, device)
        _freeze_unused(self.model, training.read([0]).photos_BHWC[:1].to(device))
        self._trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.Adam(
            self._trained.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._forward = self._distributed() if ranks.count > 1 else self.model

    # --- one epoch --------------------------------------------------------------------------------

    def train_epoch(self, epoch: int, on_step: OnStep | None = None) -> pd.DataFrame:
        """Train `epoch` (1-based) and return its dynamics, a row per draw, on every worker.

        Raises `NumericalError` when a loss is not finite, on every worker alike.
        """
        self._set_mode()
        drawn_S = self.epoch_draws(epoch)
        labels_S = torch.from_numpy(self.training.labels_V[drawn_S])
        mine = list(self._steps(len(drawn_S)))
        bags = self.training.read_ahead(drawn_S[positions].tolist() for positions, _, _ in mine)
        logits_SK: Tensor | None = None
        with _random_state(self.seed, epoch, self.ranks.rank):
            for (positions, own, step_visits), bag in zip(mine, bags, strict=True):
                logits_VK = self._step(bag, epoch, own=own, step_visits=step_visits)
                if logits_SK is None:
                    logits_SK = logits_VK.new_zeros(len(drawn_S), logits_VK.shape[1])
                if own:
                    logits_SK[positions] = logits_VK
                if on_step is not None:
                    on_step(len(bag.image_ids))
        assert logits_SK is not None
        logits_SK = self.ranks.sum_over_workers(logits_SK).cpu()
        visit_ids = [self.training.visit_ids[position] for position in drawn_S]
        require_finite(draw_losses(logits_SK, labels_S), visit_ids, epoch, of="training")
        return dynamics_rows(logits_SK, labels_S, visit_ids, epoch)

    def epoch_draws(self, epoch: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Positions of the visits that `epoch` draws."""
        return epoch_draws(
            self.training.labels_V, seed=self.seed, epoch=epoch, weighting=self.settings.sampling
        )

    def _steps(self, draws: int) -> Iterator[tuple[slice, bool, int]]:
        """For each step: this worker's positions, whether they are its own, and the step's visits.

        A worker for which a short last step leaves nothing computes the step's first visit at weight zero,
        since the gradients are summed over all workers.
        """
        size = self.settings.batch_size_visits
        for start in range(0, draws, size):
            stop = min(start + size, draws)
            own = self.ranks.rank < stop - start
            yield self.ranks.share(start, stop) if own else slice(start, start + 1), own, stop - start

    def _step(self, bag: BagBatch, epoch: int, *, own: bool, step_visits: int) -> Tensor:
        photos_BHWC = bag.photos_BHWC
        if self.settings.augment == "flip":
            photos_BHWC = flip_photos(photos_BHWC, bag.image_ids, seed=self.seed, epoch=epoch)
        logits_VK = self._logits(self._forward, photos_BHWC, bag.presence_VN)
        loss_V = draw_losses(logits_VK, bag.labels_V.to(self.device))
        if self.loss_weights:
            weights = [self.loss_weights.get(visit_id, 1.0) for visit_id in bag.visit_ids]
            loss_V = loss_V * loss_V.new_tensor(weights)
        # DDP averages over workers; times their number / the step's visits makes it the mean over visits.
        weight = self.ranks.count / step_visits if own else 0.0
        self.optimizer.zero_grad(set_to_none=True)
        (loss_V.sum() * weight).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return logits_VK.detach()

    def _logits(self, forward: nn.Module, photos_BHWC: Tensor, presence_VN: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            images_BCHW = self.model.normalise(photos_BHWC.to(self.device))
            output: MILOutput = forward(images_BCHW, presence_VN.to(self.device))
        return output.logits_VK.float()

    @torch.no_grad()
    def validate(self, epoch: int) -> ValidationResult:
        """Loss, micro AUC and kappa over the validation visits, shared out over the workers."""
        self.model.eval()
        visits = len(self.validation.visit_ids)
        share = range(visits)[self.ranks.share(0, visits)]
        per_batch = max(1, self.settings.batch_size_visits // self.ranks.count)
        batches = [share[start : start + per_batch] for start in range(0, len(share), per_batch)]
        classes = self._classes()
        logits_VK = torch.zeros(visits, classes, device=self.device)
        for positions, bag in zip(batches, self.validation.read_ahead(batches), strict=True):
            logits_VK[list(positions)] = self._logits(self.model, bag.photos_BHWC, bag.presence_VN)
        logits_VK = self.ranks.sum_over_workers(logits_VK).cpu()
        labels_V = self.validation.labels_V
        loss_V = draw_losses(logits_VK, torch.from_numpy(labels_V))
        require_finite(loss_V, self.validation.visit_ids, epoch, of="validation")
        probability_VK = torch.softmax(logits_VK.double(), dim=1).numpy()
        return ValidationResult(
            loss=float(loss_V.double().mean()),
            auc=micro_auc(labels_V, probability_VK),
            kappa=linear_kappa(labels_V, probability_VK.argmax(axis=1), classes),
        )

    def _classes(self) -> int:
        last = self.model.head[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features

    # --- state ------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Copy of the model's whole state_dict on the CPU, buffers included."""
        return {name: _on_cpu(tensor) for name, tensor in self.model.state_dict().items()}

    def moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Copies of Adam's exp_avg and exp_avg_sq by parameter name; zeros where Adam has none."""
        averages: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state.get(parameter)
            averages[name] = _on_cpu(state["exp_avg"] if state else torch.zeros_like(parameter))
            squares[name] = _on_cpu(state["exp_avg_sq"] if state else torch.zeros_like(parameter))
        return averages, squares

    def restore(
        self,
        weights: dict[str, Tensor],
        exp_avg: dict[str, Tensor],
        exp_avg_sq: dict[str, Tensor],
        step: int,
    ) -> None:
        """Continue from what `weights()` and `moments()` gave after `step` steps."""
        self.model.load_state_dict(weights, strict=True)
        self.step = step
        for name, parameter in self._trained.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=self.device),
                "exp_avg": exp_avg[name].to(self.device).clone(),
                "exp_avg_sq": exp_avg_sq[name].to(self.device).clone(),
            }

    # --- set-up -----------------------------------------------------------------------------------

    def _set_mode(self) -> None:
        self.model.train()
        if self.settings.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _distributed(self) -> DistributedDataParallel:
        """Wrap the model. A pass at weight zero follows: DDP lays its buckets out anew after the first one,
        and with them the order in which ranks are summed, which would differ after a restart.
        """
        wrapped = DistributedDataParallel(self.model, broadcast_buffers=False, gradient_as_bucket_view=True)
        self.model.eval()
        bag = self.training.read([0])
        logits_1K = self._logits(wrapped, bag.photos_BHWC, bag.presence_VN)
        (0.0 * logits_1K.sum()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad(set_to_none=True)
        return wrapped


def autocast_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision, or None for float32 throughout."""
    if settings.precision == "bf16":
        return torch.bfloat16
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if settings.precision == "auto" and has_bf16 else None


def _freeze_unused(model: MILModel, photo_1HWC: Tensor) -> None:
    """Exclude parameters that the loss does not reach: Adam skips them, but DDP would wait for them."""
    model.eval()
    present_11 = torch.ones(1, 1, dtype=torch.bool, device=photo_1HWC.device)
    reached = model(model.normalise(photo_1HWC), present_11).logits_VK.sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(reached, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


@contextlib.contextmanager
def _random_state(seed: int, epoch: int, rank: int) -> Iterator[None]:
    """Torch's global randomness (dropout of some encoders) as a function of seed, epoch and rank."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))
        yield
