"""Training an embedded dataset's two encoders, on its manifold and the real images of role train."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmbench.errors import MissingExtraError
from gmbench.manifold.encoders import WIDTH, Encoder, as_input
from gmbench.networks.resnet import channel_moments
from gmbench.support.files import replacing
from gmbench.support.progress import Progress

try:
    from lightly.loss import BarlowTwinsLoss
    from lightly.models.modules import BarlowTwinsProjectionHead
    from safetensors import safe_open
    from safetensors.torch import save_file
except ModuleNotFoundError as error:
    raise MissingExtraError.of(error.name or "lightly", "generators") from error

STEPS = {"sl": 600, "ssl": 250}
BATCH_SIZE = {"sl": 64, "ssl": 64}
LEARNING_RATE = 2e-3
PROJECTION = 256


def train_encoder(
    kind: str, pixels: np.ndarray, categories: np.ndarray, seed: int, path: Path, device: str, progress: Progress
) -> None:
    """Trains the encoder `sl` or `ssl` into a safetensors file, unless the file has just that encoder already.

    AdamW with one cycle of the learning rate. `sl`: cross-entropy on images that are mirrored and shifted by up to two
    pixels. `ssl`: Barlow Twins (Zbontar et al., ICML 2021) with a projection of 256.

    Args:
        pixels: uint8 (n, size, size, 3), real images only.
        categories: (n,), what each shows; `ssl` does not look at them.
    """
    decided = (kind, categories.tolist(), seed, STEPS[kind], BATCH_SIZE[kind])
    task = hashlib.sha256(pixels.tobytes() + repr(decided).encode()).hexdigest()
    if path.is_file():
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("task") == task:
                return

    torch.manual_seed(seed)
    images = as_input(pixels, device)
    names, labels = np.unique(categories, return_inverse=True)
    targets = torch.from_numpy(labels).to(device)
    encoder = Encoder()
    mean, sd = channel_moments(images)
    encoder.standardise(mean, sd)
    head: nn.Module = nn.Linear(WIDTH, len(names))
    if kind == "ssl":
        head = BarlowTwinsProjectionHead(WIDTH, PROJECTION, PROJECTION)
    decorrelation = BarlowTwinsLoss()
    encoder, head = encoder.to(device).to(memory_format=torch.channels_last), head.to(device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS[kind])

    encoder.train()
    with progress.phase(f"training encoder {kind}", STEPS[kind]) as phase:
        for _ in range(STEPS[kind]):
            rows = torch.randint(len(images), (BATCH_SIZE[kind],), device=device)
            if kind == "sl":
                loss = F.cross_entropy(head(encoder(mirrored_and_shifted(images[rows]))), targets[rows])
            else:
                one, two = (head(encoder(view(images[rows]))) for _ in range(2))
                loss = decorrelation(one, two)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            phase.advance(1, f"loss {loss.item():.3f}")

    weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    with replacing(path) as aside:
        save_file(weights, aside, metadata={"task": task})


def mirrored_and_shifted(images: Tensor, shift: float = 2.0) -> Tensor:
    """Each image mirrored at random and moved by up to `shift` pixels in both directions, edges repeated."""
    n, _, side, _ = images.shape
    return _sampled(images, torch.ones(n, device=images.device), 2 * shift / side)


def view(images: Tensor) -> Tensor:
    """A random view of each image (n, 3, size, size) in [0, 1]: cropped, mirrored, other light and colour, blurred."""
    n, device = len(images), images.device
    side = torch.empty(n, device=device).uniform_(0.5, 1).sqrt()
    x = _sampled(images, side, 1 - side)

    def strength(spread: float) -> Tensor:
        return torch.empty(n, 1, 1, 1, device=device).uniform_(1 - spread, 1 + spread)

    x = x * strength(0.4)
    x = (x - x.mean((1, 2, 3), keepdim=True)) * strength(0.4) + x.mean((1, 2, 3), keepdim=True)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * strength(0.4) + grey
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(torch.rand(n, 1, 1, 1, device=device) < 0.5, blurred, x).clamp(0, 1)


def _sampled(images: Tensor, side: Tensor, reach: Tensor | float) -> Tensor:
    """Squares of the images, brought back to full size: `side` (n,) of their side, centres up to `reach` off, mirrored.

    `reach` counts from the image's centre to its edge as 1.
    """
    n, device = len(images), images.device
    centre = torch.empty(n, 2, device=device).uniform_(-1, 1) * torch.as_tensor(reach, device=device).view(-1, 1)
    mirror = torch.randint(2, (n,), device=device) * 2 - 1
    zero = torch.zeros(n, device=device)
    rows = torch.stack([side * mirror, zero, centre[:, 0], zero, side, centre[:, 1]], dim=1).view(n, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
