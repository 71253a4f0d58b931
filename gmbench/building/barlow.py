"""Training a self-supervised encoder on small real images, by Barlow Twins (Zbontar et al., ICML 2021).

Kept: two views of each image, a projector of three layers, the loss on the cross-correlation of the projections with
lambda 0.005, a cosine schedule after a warm-up. Changed for images of 32 pixels: a ResNet-18 of half the width with a
3x3 stem of stride 2 and no pooling after it, AdamW in place of LARS, views without solarisation.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import DataError, MissingExtraError
from gmbench.generators.generator import set_rate
from gmbench.networks.checkpoints import Stateful, load_checkpoint, save_checkpoint
from gmbench.networks.recorded import RecordedSteps
from gmbench.networks.resnet import small_resnet18
from gmbench.support.files import replacing
from gmbench.support.progress import Progress

try:
    from lightly.loss import BarlowTwinsLoss
    from lightly.models.modules import BarlowTwinsProjectionHead
    from safetensors.torch import save_file
except ModuleNotFoundError as error:
    raise MissingExtraError.of(error.name or "lightly", "generators") from error

FEATURES = 256
STEPS_BETWEEN_CHECKPOINTS = 500


class BarlowTwins(nn.Module):
    """An encoder's body, a projector, and the step that trains both.

    Args:
        mean, sd: of the channels of images in [0, 1], (3,) each.
        steps: how many there will be: the learning rate grows for the first twentieth and then falls to zero.
        colour: whether views differ in saturation and hue, and are grey at times.
        turned: whether views are turned by quarters.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        mean: Tensor,
        sd: Tensor,
        steps: int,
        colour: bool,
        turned: bool,
        projection: int = 1024,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        self.body = small_resnet18()
        self.projector = BarlowTwinsProjectionHead(FEATURES, projection, projection)
        self.loss = BarlowTwinsLoss()
        self.steps, self.colour, self.turned, self.learning_rate = steps, colour, turned, learning_rate
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("sd", sd.view(1, 3, 1, 1))
        learned = [*self.body.parameters(), *self.projector.parameters()]
        self._optimizers = {"adamw": torch.optim.AdamW(learned, lr=learning_rate, weight_decay=weight_decay)}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def kind_of_step(self, number: int) -> Hashable:
        return None

    def prepare(self, number: int) -> None:
        warm, done = self.steps / 20, number / self.steps
        rate = number / warm if number < warm else 0.5 * (1 + math.cos(math.pi * (done - 0.05) / 0.95))
        set_rate(self._optimizers["adamw"], self.learning_rate * rate)

    def train_step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        """One step on images (n, 3, size, size) in [0, 1]; in bfloat16 on the GPU."""
        views = torch.cat([view(real, self.colour, self.turned) for _ in range(2)])
        standardised = ((views - self.mean) / self.sd).contiguous(memory_format=torch.channels_last)
        with torch.autocast(real.device.type, torch.bfloat16, enabled=real.is_cuda, cache_enabled=False):
            projected = self.projector(self.body(standardised))
        loss = self.loss(*projected.float().chunk(2))
        self._optimizers["adamw"].zero_grad(set_to_none=True)
        loss.backward()
        self._optimizers["adamw"].step()
        return {"loss": loss.detach()}


def view(images: Tensor, colour: bool, turned: bool) -> Tensor:
    """A random view of each image (n, 3, size, size) in [0, 1]: cropped, mirrored, other light and colour, blurred."""
    n, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=device) * (high - low) + low

    def chosen(share: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=device) < share

    x = _cropped(images, turned)
    lit = x * uniform(0.6, 1.4)
    mean = lit.mean((1, 2, 3), keepdim=True)
    lit = (lit - mean) * uniform(0.6, 1.4) + mean
    if colour:
        grey = lit.mean(1, keepdim=True)
        lit = (lit - grey) * uniform(0.6, 1.4) + grey
        lit = lit * (1 + 0.1 * (2 * torch.rand(n, 3, 1, 1, device=device) - 1))
        lit = torch.where(chosen(0.1), lit.mean(1, keepdim=True).expand_as(lit), lit)
    x = torch.where(chosen(0.8), lit, x)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(chosen(0.3), blurred, x).clamp(0, 1)


def _cropped(images: Tensor, turned: bool) -> Tensor:
    """Squares of 30 to 100 % of the area, sides in a ratio of 3:4 to 4:3, at full size; mirrored at random."""
    n, device = len(images), images.device
    area, log_ratio = torch.rand(2, n, device=device).unbind()
    side = (0.3 + 0.7 * area).sqrt()
    ratio = ((2 * log_ratio - 1) * 0.5 * math.log(4 / 3)).exp()
    sides = torch.stack([side * ratio, side / ratio], dim=1).clamp_max(1)
    centre = (2 * torch.rand(n, 2, device=device) - 1) * (1 - sides)
    mirror = 2.0 * torch.randint(2, (n,), device=device) - 1
    angle = 0.5 * math.pi * torch.randint(4, (n,), device=device) * turned
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        [
            torch.stack([sides[:, 0] * mirror * cos, -sides[:, 0] * sin, centre[:, 0]], dim=1),
            torch.stack([sides[:, 1] * mirror * sin, sides[:, 1] * cos, centre[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train_barlow_twins(
    images: np.ndarray,
    seed: int,
    path: Path,
    *,
    steps: int,
    batch_size: int,
    colour: bool,
    turned: bool,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """Trains an encoder on uint8 images (n, size, size, 1 or 3) into a safetensors file; resumes what is there.

    The file holds the body, mean and standard deviation in half precision, and its metadata what decided the training.

    Returns:
        What decided it, and how long it took.

    Raises:
        DataError: there is a checkpoint of another training beside the file.
    """
    described: dict[str, Any] = {
        "objective": "barlow-twins",
        "images": len(images),
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "colour": colour,
        "turned": turned,
    }
    torch.manual_seed(seed)
    shares = images.reshape(-1, images.shape[-1]) / 255.0
    mean, sd = (torch.as_tensor(value, dtype=torch.float32).expand(3) for value in (shares.mean(0), shares.std(0)))
    model = BarlowTwins(mean, sd, steps, colour, turned).to(device)
    model.body.to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(seed)
    run_step = RecordedSteps(model, device)
    parts: dict[str, Stateful] = {"model": model, **model.optimizers()}
    checkpoint = path.with_suffix(".checkpoint.pt")
    done, seconds = 0, 0.0
    if (values := load_checkpoint(checkpoint, parts, device)) is not None:
        if values["described"] != described:
            raise DataError(f"{checkpoint} is of another training. Remove it, or give another file.")
        order.set_state(values["order"].cpu())
        done, seconds = values["step"], values["seconds"]
    about = {"described": dict(described)}
    pixels = torch.from_numpy(images).to(device)
    model.train()
    started = time.monotonic()
    with progress.phase("training the encoder", steps) as phase:
        phase.advance(done)
        while done < steps:
            chosen = torch.randint(len(images), (batch_size,), generator=order)
            done += 1
            batch = pixels[chosen.to(device)].permute(0, 3, 1, 2).float() / 255
            losses = run_step(batch.expand(-1, 3, -1, -1).contiguous(), done)
            phase.advance(1, f"loss {losses['loss'].item():.1f}" if done % 25 == 0 else "")
            if done % STEPS_BETWEEN_CHECKPOINTS == 0 and done < steps:
                spent = seconds + time.monotonic() - started
                save_checkpoint(checkpoint, parts, {"order": order.get_state(), "step": done, "seconds": spent} | about)
    described["seconds"] = round(seconds + time.monotonic() - started)
    described["trained_on"] = torch.cuda.get_device_name() if device.startswith("cuda") else device
    kept = {f"body.{name}": value for name, value in model.body.state_dict().items()}
    weights = {name: value.cpu() for name, value in {**kept, "mean": model.mean, "sd": model.sd}.items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    with replacing(path) as aside:
        save_file(
            {name: value.contiguous() for name, value in halves.items()}, aside, {"training": json.dumps(described)}
        )
    checkpoint.unlink(missing_ok=True)
    return described
