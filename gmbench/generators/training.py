"""Training and sampling of a generative model, with checkpoints that a stopped training resumes from.

A model's folder holds `generator.json` (what it is and how it was trained), `checkpoint.pt` while it trains,
`model.safetensors` once it is done (the parts that sample, in half precision), and `grid.png` with the latest samples.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmbench.errors import DataError, MissingExtraError, NotFoundError, ParameterError
from gmbench.generators import model_class
from gmbench.generators.generator import Generator
from gmbench.networks.checkpoints import Stateful, load_checkpoint, save_checkpoint
from gmbench.networks.recorded import RecordedSteps
from gmbench.support.digests import without_words
from gmbench.support.files import locked, replacing, sha256_file, write_text
from gmbench.support.parameters import Parameter, Value
from gmbench.support.progress import Progress

try:
    from safetensors.torch import load_file, save_file
except ModuleNotFoundError as error:
    raise MissingExtraError.of("safetensors", "generators") from error

STEPS_BETWEEN_CHECKPOINTS = 250
STEPS_BETWEEN_GRIDS = 1000
STEPS_BETWEEN_NOTES = 25
SAMPLING_BATCH = 100
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrainingPlan:
    """What decides a trained generator, next to its training images."""

    generator: str
    steps: int
    seed: int
    batch_size: int = 64
    parameters: dict[str, Any] = field(default_factory=dict)


def generator_parameters(name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """The constructor parameters that a user gave for a generator, checked against its signature.

    Raises:
        NotFoundError: there is no such generator.
        ParameterError: there is no such parameter, or its value has another type or is not finite.
    """
    signature = inspect.signature(model_class(name).__init__, eval_str=True).parameters
    known = {key: argument for key, argument in signature.items() if key not in ("self", "size", "channels")}
    values = {}
    for key, value in given.items():
        if key not in known:
            raise ParameterError(str(NotFoundError.of(f"parameter of {name}", key, known)))
        kind = known[key].annotation.__name__
        values[key] = Parameter(type=kind, default=known[key].default, meaning="").parse(key, value)
    return values


def to_tensor(images: Tensor) -> Tensor:
    """uint8 (n, h, w, c) to float32 (n, c, h, w) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(tensor: Tensor) -> np.ndarray:
    """float32 (n, c, h, w) in [-1, 1] to uint8 (n, h, w, c), rounded to the nearest level."""
    return ((tensor + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def code_sha256(name: str) -> str:
    """A digest of the code that a generator is: its module, and those of this package that it imports from."""
    found: dict[str, ModuleType] = {}
    waiting = [model_class(name).__module__]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module] = sys.modules[module]
            origins = {getattr(value, "__module__", None) for value in vars(found[module]).values()}
            waiting += [origin for origin in origins if origin and origin.startswith(__package__)]
    sources = (without_words(inspect.getsource(found[module])) for module in sorted(found))
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def train_generator(
    plan: TrainingPlan,
    images: np.ndarray,
    folder: Path,
    *,
    device: str,
    progress: Progress,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Trains a generator on uint8 images (n, size, size, channels) into `folder`, resuming what is there.

    Args:
        minutes: the training ends after so many, even before all steps of the plan are done, and says then that it had
            as many steps as were done.

    Returns:
        What `generator.json` says: the plan, image size and channels, digests of the images and of the model's code,
        seconds of training and on what, sha256 of the weights.

    Raises:
        DataError: the folder holds a generator of another plan, of other images, or of other code.
        OutputError: another process is training into it.
    """
    with locked(folder / "training.lock", f"{folder} is being trained"):
        return _trained(plan, images, folder, device, progress, minutes)


def _trained(
    plan: TrainingPlan, images: np.ndarray, folder: Path, device: str, progress: Progress, minutes: float | None
) -> dict[str, Any]:
    """`train_generator`, while nobody else is at the folder."""
    described = {
        **asdict(plan),
        "size": images.shape[1],
        "channels": images.shape[3],
        "images": len(images),
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "code_sha256": code_sha256(plan.generator),
    }
    description_path, checkpoint_path = folder / "generator.json", folder / "checkpoint.pt"
    if description_path.exists():
        before = read_description(folder)
        if differs := [key for key, value in described.items() if before.get(key) != value]:
            raise DataError(
                f"{folder} holds a generator that was trained otherwise ({', '.join(differs)}). Give another folder."
            )
        if "sha256" in before:
            return before

    torch.manual_seed(plan.seed)
    model = _new_model(plan.generator, images.shape[1], images.shape[3], plan.parameters)
    model = model.to(device).to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(plan.seed)
    run_step = RecordedSteps(model, device)
    done, seconds = 0, 0.0
    write_text(description_path, json.dumps(described, indent=2))
    parts: dict[str, Stateful] = {"model": model, **model.optimizers()}
    if (values := load_checkpoint(checkpoint_path, parts, device)) is not None:
        order.set_state(values["order"].cpu())
        done, seconds = values["step"], values["seconds"]

    model.train()
    pixels = torch.from_numpy(images).to(device)
    with progress.phase(f"training {plan.generator}", plan.steps) as phase:
        phase.advance(done)
        started = time.monotonic()

        def spent() -> float:
            return seconds + time.monotonic() - started

        while done < plan.steps and (minutes is None or spent() < 60 * minutes):
            chosen = torch.randint(len(images), (plan.batch_size,), generator=order)
            done += 1
            losses = run_step(to_tensor(pixels[chosen.to(device)]), done)
            note = ""
            if done % STEPS_BETWEEN_NOTES == 0 or done == plan.steps:
                note = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            phase.advance(1, note)
            if done % STEPS_BETWEEN_CHECKPOINTS == 0 and done < plan.steps:
                values = {"order": order.get_state(), "step": done, "seconds": spent()}
                save_checkpoint(checkpoint_path, parts, values)
            if done % STEPS_BETWEEN_GRIDS == 0 and done < plan.steps:
                _save_grid_of(model, plan.seed, folder)
                model.train()
        seconds = spent()

    with replacing(folder / WEIGHTS) as aside:
        save_file(sampling_weights(model), aside)
    described |= {
        "steps": done,
        "seconds": round(seconds),
        "trained_on": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "sha256": sha256_file(folder / WEIGHTS),
    }
    write_text(description_path, json.dumps(described, indent=2))
    checkpoint_path.unlink(missing_ok=True)
    _save_grid_of(load_generator(folder, device), plan.seed, folder)
    return described


def sampling_weights(model: Generator) -> dict[str, Tensor]:
    """The weights of those parts of a model that sample, in half precision where that holds their values."""
    parts = tuple(f"{part}." for part in model.sampling_parts)
    chosen = {name: value for name, value in model.state_dict().items() if f"{name}.".startswith(parts)}
    return {name: _halved(value.cpu()).contiguous() for name, value in chosen.items()}


def _halved(value: Tensor) -> Tensor:
    halved = value.half() if value.is_floating_point() else value
    return halved if halved.isfinite().all() else value


def read_description(folder: Path) -> dict[str, Any]:
    """What `generator.json` says of a folder's generator.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / "generator.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(described, dict):
            raise ValueError("not an object")
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no generator (generator.json is missing).") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}). Remove {folder} and train again.") from error
    return described


def _new_model(name: str, size: int, channels: int, parameters: Mapping[str, Any]) -> Generator:
    """A model with new weights.

    Raises:
        ParameterError: it cannot be made with these parameters for images of this size.
    """
    kind = model_class(name)
    try:
        return kind(size, channels, **parameters)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        given = ", ".join(f"{key}={value}" for key, value in parameters.items()) or "its defaults"
        raise ParameterError(f"{name} cannot be made for {size} pixels with {given}: {error}.") from error


def _save_grid_of(model: Generator, seed: int, folder: Path) -> None:
    model.eval()
    save_grid(to_images(model.sample(32, torch.Generator().manual_seed(seed))), folder / "grid.png")


def load_generator(folder: Path, device: str) -> Generator:
    """The trained generator of a folder, ready to sample, with the weights as they were rounded for its file.

    Raises:
        DataError: there is no trained generator in the folder, or its weights are not those it was described with.
    """
    described = read_description(folder)
    if "sha256" not in described or not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder} holds a generator whose training has not ended. Run its training again.")
    if sha256_file(folder / WEIGHTS) != described["sha256"]:
        raise DataError(f"{folder / WEIGHTS} is damaged: its sha256 is not the one in generator.json.")
    model = _new_model(described["generator"], described["size"], described["channels"], described["parameters"])
    weights = load_file(folder / WEIGHTS)
    if set(weights) != set(sampling_weights(model)):
        raise DataError(f"{folder / WEIGHTS} is of another version of {described['generator']}. Train it again.")
    model.load_state_dict(weights, strict=False)
    return model.to(device).to(memory_format=torch.channels_last).eval()


def sample_generator(folder: Path, n: int, seed: int, *, device: str, progress: Progress) -> np.ndarray:
    """`n` images of a folder's trained generator, uint8 (n, size, size, channels), decided by `seed`.

    Images are always made in batches of the same size, so that fewer are the first of more.
    """
    model = load_generator(folder, device)
    random = torch.Generator().manual_seed(seed)
    starts = range(0, n, SAMPLING_BATCH)
    batches = [
        to_images(model.sample(SAMPLING_BATCH, random))
        for _ in progress.track(starts, f"sampling {folder.name}", len(starts))
    ]
    return np.concatenate(batches)[:n]


def save_grid(images: np.ndarray, path: Path, columns: int = 16) -> None:
    """Writes uint8 images (n, h, w, 1 or 3) side by side into one PNG."""
    from PIL import Image

    rows = [images[start : start + columns] for start in range(0, len(images) // columns * columns, columns)]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    with replacing(path) as aside:
        Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(aside, format="PNG")
