"""Each generative model learns, samples as its seed says, and keeps its closed forms; trainings resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import gmbench.building.encoders
import gmbench.generators.training
from conftest import make_card, use_catalogue
from gmbench.building.build import build_dataset
from gmbench.building.drawing import draw_images
from gmbench.building.images import training_images, write_samples
from gmbench.building.reals import Reals, is_near
from gmbench.data.cards import FURTHER_ROLES, DatasetCard, Plan, find_dataset
from gmbench.data.catalogue import catalogue, find_generator
from gmbench.data.dataset import load_dataset
from gmbench.data.manifest import role_path
from gmbench.errors import DataError, NotFoundError, OutputError, ParameterError
from gmbench.generators import model_class
from gmbench.generators.adversarial import between, slope_penalty, squared_slope
from gmbench.generators.ddgan import DiffusionSteps
from gmbench.generators.ddpm import DDPM
from gmbench.generators.generator import Generator
from gmbench.generators.glow import ActNorm, AffineCoupling, Flow, Glow, InvertibleConvolution, NormalizingFlow
from gmbench.generators.stylegan2 import ModulatedConvolution, larger, smaller
from gmbench.generators.training import (
    TrainingPlan,
    load_generator,
    sample_generator,
    to_images,
    to_tensor,
    train_generator,
)
from gmbench.manifold.encoders import load_encoder
from gmbench.support.cache import Cache
from gmbench.support.files import locked
from gmbench.support.progress import Progress

SMALL = {
    "gan": {"width": 64, "latent": 16, "ema_decay": 0.8, "learning_rate": 2e-3},
    "dcgan": {"width": 16, "latent": 16},
    "lsgan": {"width": 16, "latent": 16, "learning_rate": 1e-3},
    "wgan-gp": {"width": 16, "latent": 16, "critic_steps": 2, "learning_rate": 1e-3},
    "wgan-lp": {"width": 16, "latent": 16, "critic_steps": 2, "learning_rate": 1e-3},
    "dragan-gp": {"width": 16, "latent": 16},
    "beta-vae": {"width": 8, "latent": 8, "learning_rate": 2e-3},
    "nvae": {"width": 4, "latent": 2, "groups": 1, "components": 2, "warmup": 20, "rate_warmup": 5, "ema_decay": 0.9},
    "macow": {"depth": 1, "hidden": 16, "levels": 2, "units": 1, "warmup": 1, "ema_decay": 0.9},
    "ncsnpp": {
        "width": 8,
        "sampling_steps": 5,
        "sigma_min": 0.05,
        "sigma_max": 1.0,
        "ema_decay": 0.8,
        "learning_rate": 5e-3,
    },
    "glow": {"depth": 1, "hidden": 16, "levels": 2, "warmup": 1, "ema_decay": 0.9},
    "stylegan2": {"width": 8, "latent": 16, "mapping_layers": 2, "ema_decay": 0.8},
    "ddgan": {"width": 8, "latent": 16, "ema_decay": 0.8, "learning_rate": 2e-3},
    "dfc-vae": {"width": 8, "latent": 8, "perception_steps": 5, "learning_rate": 2e-3},
    "ldm": {
        "autoencoder_width": 8,
        "width": 16,
        "autoencoder_steps": 30,
        "sampling_steps": 10,
        "ema_decay": 0.8,
        "learning_rate": 2e-3,
    },
    "ddpm": {"width": 8, "sampling_steps": 10, "ema_decay": 0.9, "learning_rate": 2e-3},
}


def squares(n: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """uint8 (n, 32, 32, channels): a bright square on black."""
    random = np.random.default_rng(seed)
    images = np.zeros((n, 32, 32, channels), np.uint8)
    for image, (y, x), level in zip(images, random.integers(2, 12, (n, 2)), random.integers(150, 256, n), strict=True):
        image[y : y + 16, x : x + 16] = level
    return images


def make(name: str, channels: int = 1, size: int = 32) -> Generator:
    """A small model with weights from a fixed seed."""
    torch.manual_seed(0)
    return model_class(name)(size, channels, **SMALL[name])


def plan(name: str, steps: int) -> TrainingPlan:
    """A short training of a small model."""
    return TrainingPlan(name, steps, seed=3, batch_size=16, parameters=SMALL[name])


@pytest.mark.parametrize("name", [name for name in catalogue() if name not in ("glow", "macow")])
def test_training_brings_samples_closer_to_the_reals(name: str, tmp_path: Path) -> None:
    """After some steps, the mean image of the samples is nearer to the reals' than before any."""
    reals = squares(256)

    def distance(folder: Path, steps: int) -> float:
        train_generator(plan(name, steps), reals, folder, device="cpu", progress=Progress())
        samples = sample_generator(folder, 64, 1, device="cpu", progress=Progress())
        assert samples.shape == (64, 32, 32, 1)
        assert samples.dtype == np.uint8
        return float(np.abs(samples.mean(axis=0) - reals.mean(axis=0)).mean())

    assert distance(tmp_path / "long", 60) < 0.85 * distance(tmp_path / "short", 1)


@pytest.mark.parametrize("name", catalogue())
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 1)])
def test_sizes_and_channels(name: str, size: int, channels: int) -> None:
    """Models work in colour and at 64 pixels; samples lie in [-1, 1]."""
    model = make(name, channels, size)
    model.train()
    losses = model.train_step(torch.rand(4, channels, size, size) * 2 - 1, 1)
    assert all(np.isfinite(value) for value in losses.values())
    model.eval()
    samples = model.sample(2, torch.Generator().manual_seed(0))
    assert samples.shape == (2, channels, size, size)
    assert samples.abs().max() <= 1


@pytest.mark.parametrize("name", catalogue())
def test_the_seed_decides_the_samples(name: str) -> None:
    """Equal seeds give equal images, whatever torch's own state is; other seeds other images."""
    model = make(name).eval()
    first = model.sample(3, torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    assert torch.equal(model.sample(3, torch.Generator().manual_seed(5)), first)
    assert not torch.equal(model.sample(3, torch.Generator().manual_seed(6)), first)


def test_two_trainings_of_one_folder(tmp_path: Path) -> None:
    """The second says who is at it, and leaves everything as it is; afterwards the folder is free."""
    with locked(tmp_path / "training.lock", "the first"), pytest.raises(OutputError, match="is being trained: process"):
        train_generator(plan("gan", 1), squares(40), tmp_path, device="cpu", progress=Progress())
    assert not list(tmp_path.iterdir())
    train_generator(plan("gan", 1), squares(40), tmp_path, device="cpu", progress=Progress())


@pytest.mark.parametrize("name", catalogue())
def test_a_stopped_training_ends_as_if_it_had_not_been(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after a checkpoint and started again, the weights are those of a training in one go."""
    monkeypatch.setattr(gmbench.generators.training, "STEPS_BETWEEN_CHECKPOINTS", 3)
    reals = squares(64)
    whole = train_generator(plan(name, 6), reals, tmp_path / "whole", device="cpu", progress=Progress())

    class Stop(Progress):
        def phase(self, description: str, total: int):  # type: ignore[no-untyped-def]
            return _StopAtStep(4)

    with pytest.raises(KeyboardInterrupt):
        train_generator(plan(name, 6), reals, tmp_path / "stopped", device="cpu", progress=Stop())
    assert (tmp_path / "stopped" / "checkpoint.pt").exists()
    resumed = train_generator(plan(name, 6), reals, tmp_path / "stopped", device="cpu", progress=Progress())
    assert resumed["sha256"] == whole["sha256"]


class _StopAtStep:
    """A phase that is interrupted, as by Ctrl-C, when so many steps are done."""

    def __init__(self, last: int) -> None:
        self.last, self.done = last, 0

    def __enter__(self) -> _StopAtStep:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.done >= self.last:
            raise KeyboardInterrupt


def test_a_folder_keeps_one_generator(tmp_path: Path) -> None:
    """A trained generator is not trained again, nor overwritten by another plan; damaged weights are noticed."""
    reals = squares(64)
    first = train_generator(plan("beta-vae", 2), reals, tmp_path, device="cpu", progress=Progress())
    assert train_generator(plan("beta-vae", 2), reals, tmp_path, device="cpu", progress=Progress()) == first
    with pytest.raises(DataError, match="trained otherwise"):
        train_generator(plan("beta-vae", 3), reals, tmp_path, device="cpu", progress=Progress())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged"):
        sample_generator(tmp_path, 1, 0, device="cpu", progress=Progress())


def test_other_images_are_another_training(tmp_path: Path) -> None:
    """As many images with other pixels do not get the weights of the first."""
    train_generator(plan("beta-vae", 1), squares(16), tmp_path, device="cpu", progress=Progress())
    with pytest.raises(DataError, match="trained otherwise"):
        train_generator(plan("beta-vae", 1), squares(16, seed=1), tmp_path, device="cpu", progress=Progress())


def test_a_damaged_description(tmp_path: Path) -> None:
    """It is named, and nothing is trained over it."""
    (tmp_path / "generator.json").write_text("{")
    with pytest.raises(DataError, match=r"generator.json is damaged"):
        train_generator(plan("beta-vae", 1), squares(16), tmp_path, device="cpu", progress=Progress())


def test_a_training_that_has_not_ended_cannot_be_sampled(tmp_path: Path) -> None:
    """Weights without a finished description do not count."""
    train_generator(plan("beta-vae", 1), squares(16), tmp_path, device="cpu", progress=Progress())
    described = json.loads((tmp_path / "generator.json").read_text())
    del described["sha256"]
    (tmp_path / "generator.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="training has not ended"):
        sample_generator(tmp_path, 1, 0, device="cpu", progress=Progress())
    train_generator(plan("beta-vae", 1), squares(16), tmp_path, device="cpu", progress=Progress())
    assert len(sample_generator(tmp_path, 1, 0, device="cpu", progress=Progress())) == 1


@pytest.mark.parametrize(("name", "parameters"), [("ddpm", {"width": 10}), ("dcgan", {"latent": -1})])
def test_parameters_that_make_no_network(tmp_path: Path, name: str, parameters: dict[str, int]) -> None:
    """What torch cannot build is the parameters' fault, and they are named."""
    impossible = TrainingPlan(name, 1, seed=0, parameters=parameters)
    with pytest.raises(ParameterError, match=next(iter(parameters))):
        train_generator(impossible, squares(16), tmp_path, device="cpu", progress=Progress())


def test_an_empty_folder_has_no_generator(tmp_path: Path) -> None:
    """What is missing is named."""
    with pytest.raises(DataError, match=r"generator.json is missing"):
        sample_generator(tmp_path, 1, 0, device="cpu", progress=Progress())


def test_an_unknown_generator() -> None:
    """A typo is answered with the nearest names."""
    with pytest.raises(NotFoundError, match="Nearest: dcgan"):
        find_generator("dc-gan")


def test_the_catalogue_covers_the_four_families() -> None:
    """Each model has the six design choices of the paper's Appendix D."""
    assert {card.family for card in catalogue().values()} == {"gan", "vae", "flow", "score"}
    for card in catalogue().values():
        assert set(card.choices) == {
            "upsampling", "last_nonlinearity", "normalization", "downsampling", "skip", "loss",
        }  # fmt: skip


def test_images_survive_the_way_to_tensors_and_back() -> None:
    """All 256 levels."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_images(to_tensor(torch.from_numpy(levels))), levels)


class TestGlow:
    """The flow inverts, its density is a density, and training makes reals likelier."""

    @pytest.mark.parametrize("name", ["glow", "macow"])
    def test_training_makes_unseen_reals_likelier(self, tmp_path: Path, name: str) -> None:
        """Bits per dimension of images that were not trained on fall by more than half a bit."""

        def bits(folder: Path, steps: int) -> float:
            train_generator(plan(name, steps), squares(256), folder, device="cpu", progress=Progress())
            model = load_generator(folder, "cpu")
            assert isinstance(model, NormalizingFlow)
            with torch.no_grad():
                return model.bits_per_dimension(to_tensor(torch.from_numpy(squares(64, seed=1)))).mean().item()

        assert bits(tmp_path / "long", 60) < bits(tmp_path / "short", 5) - 0.5

    @pytest.mark.parametrize("layer", [ActNorm(4), InvertibleConvolution(4), AffineCoupling(4, 8)])
    def test_layers_invert_and_count_volume(self, layer: torch.nn.Module) -> None:
        """The inverse undoes the layer, and its log determinant is that of autograd's Jacobian."""
        torch.manual_seed(1)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, 0.1, 0.3)
        layer.double().eval()
        x = torch.randn(1, 4, 2, 2, dtype=torch.float64)
        y, log_det = layer(x)
        torch.testing.assert_close(layer.inverse(y), x)
        jacobian = torch.autograd.functional.jacobian(lambda z: layer(z)[0], x).reshape(16, 16)
        torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian)[1])

    def test_the_whole_flow_inverts(self) -> None:
        """Decoding the latents of an image gives the image, to 1e-4."""
        model = make("glow", 3)
        x = torch.rand(4, 3, 32, 32) - 0.5
        model.train()
        assert isinstance(model, Glow)
        for number in (1, 2, 3):
            model.train_step(x * 2, number)
        model.eval()
        latents, _ = model.flow.encode(x)
        assert (model.flow.decode(latents) - x).abs().max() < 1e-4

    def test_the_density_counts_the_whole_volume(self) -> None:
        """On an 2x2 image, the log density is the prior's at the latents plus autograd's log determinant."""
        torch.manual_seed(2)
        flow = Flow(1, levels=1, depth=2, hidden=4).double().eval()
        for parameter in flow.parameters():
            torch.nn.init.normal_(parameter, 0.05, 0.2)
        x = torch.rand(1, 1, 2, 2, dtype=torch.float64)
        latents, log_density = flow.encode(x)
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.encode(z)[0][0], x).reshape(4, 4)
        prior = flow.priors[0].log_density(latents[0], torch.zeros_like(latents[0]))
        torch.testing.assert_close(log_density, prior + torch.linalg.slogdet(jacobian)[1])

    def test_bits_per_dimension_of_what_is_known(self) -> None:
        """An untrained flow of volume 1 has a Gaussian density: 8 bits, plus the Gaussian's in bits, at zero."""
        model = Glow(2, 1, levels=1, depth=0, hidden=4)
        bits = model.bits_per_dimension(torch.zeros(4000, 1, 2, 2)).mean().item()
        assert bits == pytest.approx(8 + 0.5 * np.log2(2 * np.pi), abs=1e-4)


class TestSlopePenalty:
    """The penalties of WGAN-gp, WGAN-lp and DRAGAN."""

    @pytest.mark.parametrize(("slope", "two_sided", "one_sided"), [(1, 0, 0), (0.25, 0.5625, 0), (3, 4, 4)])
    def test_of_a_critic_of_known_slope(self, slope: float, two_sided: float, one_sided: float) -> None:
        """(slope - 1)^2; nothing for slope 1, and nothing for less if one-sided."""
        direction = torch.randn(3 * 8 * 8)
        direction = slope * direction / direction.norm()
        points = torch.randn(5, 3, 8, 8)

        def critic(x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ direction

        assert slope_penalty(critic, points).item() == pytest.approx(two_sided, abs=1e-5)
        assert slope_penalty(critic, points, one_sided=True).item() == pytest.approx(one_sided, abs=1e-5)

    def test_points_lie_between_real_and_generated(self) -> None:
        """Each on the line of its own pair, somewhere else for each."""
        real, fake = torch.zeros(200, 1, 4, 4), torch.ones(200, 1, 4, 4)
        points = between(real, fake)
        assert (points.flatten(1).std(dim=1) < 1e-6).all()
        shares = points[:, 0, 0, 0]
        assert (shares >= 0).all()
        assert (shares <= 1).all()
        assert shares.std() > 0.2

    def test_the_critic_takes_more_turns(self) -> None:
        """With `critic_steps` 2, the generator moves at every second step only."""
        model = make("wgan-gp")
        before = [parameter.clone() for parameter in model.generator.parameters()]
        real = torch.rand(4, 1, 32, 32) * 2 - 1
        assert "generator" not in model.train_step(real, 1)
        assert all(torch.equal(a, b) for a, b in zip(before, model.generator.parameters(), strict=True))
        assert "generator" in model.train_step(real, 2)
        assert not all(torch.equal(a, b) for a, b in zip(before, model.generator.parameters(), strict=True))


def test_ddpm_adds_noise_as_the_paper_says() -> None:
    """The forward marginal at step t has mean sqrt(alpha-bar) x and variance 1 - alpha-bar, linear betas."""
    model = make("ddpm")
    assert isinstance(model, DDPM)
    betas = torch.linspace(1e-4, 0.02, 1000)
    kept = torch.cumprod(1 - betas, 0)
    x = torch.full((1, 1, 1, 1), 0.7).expand(20_000, -1, -1, -1)
    for time in (0, 250, 999):
        noisy = model.schedule.add_noise(x, torch.randn(x.shape), torch.full((len(x),), time))
        assert noisy.mean().item() == pytest.approx(0.7 * kept[time].sqrt().item(), abs=0.03)
        assert noisy.var().item() == pytest.approx(1 - kept[time].item(), abs=0.03)


def test_build_makes_a_whole_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From real images to files that load: all generators trained, roles assigned, weights, README, picture written."""
    from made_images import write_fashion_mnist

    reals = tmp_path / "reals"
    reals.mkdir()
    write_fashion_mnist(reals, 12)
    original = find_dataset("gm-garments")

    def short(name: str) -> dict[str, object]:
        return {"generator": name, "training": {"steps": 2, "batch_size": 8, "parameters": SMALL[name]}}

    encoders = {"sl": "encoders/sl.safetensors", "ssl": "encoders/ssl.safetensors"}
    monkeypatch.setattr(gmbench.building.encoders, "STEPS", {"sl": 2, "ssl": 2})
    plan = Plan(edition=2, roles={"train": 7, "val": 1, "test": 2}, manifold=20, reserve=3, unknown=4)
    described = original.model_dump() | {
        "slug": "small",
        "building": plan.model_dump(),
        "generators": {"ddpm": short("ddpm"), "glow": short("glow")},
        "siblings": {"ddpm-sibling": short("ddpm")},
        "encoders": encoders,
    }
    card = DatasetCard(**described)
    use_catalogue(monkeypatch, tmp_path, {"small": card})
    folder = build_dataset(card, tmp_path / "work", tmp_path / "small", reals, "cpu", Progress())
    dataset = load_dataset(card, Cache(), Progress(), folder)
    assert {role: len(images) for role, images in dataset.roles.items()} == {
        "manifold": 20, "train": 21, "val": 3, "test": 6,
    }  # fmt: skip
    further = {role: parquet.read_table(folder / role_path(role))["source"].to_pylist() for role in FURTHER_ROLES}
    assert further == {"reserve": ["real"] * 3, "unknown": ["ddpm-sibling"] * 4}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "MIT" in readme
    assert dataset.revision in readme
    assert (folder / "samples.png").exists()
    assert "Fréchet distance" in readme
    assert '"dataset":"small"' in (folder / "audit.json").read_text(encoding="utf-8").replace('": "', '":"')
    assert load_encoder(card, "ssl", folder).body is not None
    # From the weights that came along, in a clean folder: nothing is trained, and the images are the same.
    again = build_dataset(card, tmp_path / "clean", tmp_path / "again", reals, "cpu", Progress())
    assert not (tmp_path / "clean" / "ddpm").exists()
    assert load_dataset(card, Cache(), Progress(), again).revision == dataset.revision


class TestDrawing:
    """Images of a trained generator."""

    @pytest.fixture
    def trained(self, tmp_path: Path) -> Path:
        """A generator that learned little."""
        train_generator(plan("stylegan2", 1), squares(64), tmp_path / "model", device="cpu", progress=Progress())
        return tmp_path / "model"

    def test_fewer_are_the_first_of_more(self, trained: Path) -> None:
        """So that a dataset can grow without losing what it has."""
        some, more = (sample_generator(trained, n, 5, device="cpu", progress=Progress()) for n in (30, 130))
        np.testing.assert_array_equal(some, more[:30])

    def test_none_is_near_another_or_what_is_to_be_avoided(self, trained: Path) -> None:
        """The images drawn first, given as those to avoid, do not come again."""
        first = draw_images(trained, 20, 5, device="cpu", progress=Progress())
        avoid = [Reals(first, np.full(20, None))]
        second = draw_images(trained, 20, 5, device="cpu", progress=Progress(), avoid=avoid)
        assert not is_near(second, first).any()
        assert len(second) == 20

    def test_weights_are_those_that_sample_in_half_precision(self, trained: Path) -> None:
        """No discriminator comes along; images are drawn from the rounded weights."""
        weights = load_file(trained / "model.safetensors")
        assert all(name.startswith(("average.", "mean_style")) for name in weights)
        assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
        loaded = load_generator(trained, "cpu").state_dict()
        assert all(torch.equal(loaded[name], value.to(loaded[name].dtype)) for name, value in weights.items())

    def test_one_thread_and_two_agree_to_a_grey_level(self, trained: Path) -> None:
        """On 99.9 % of pixels, since sums in another order round otherwise."""
        found = []
        threads = torch.get_num_threads()
        try:
            for n in (1, 2):
                torch.set_num_threads(n)
                found.append(sample_generator(trained, 100, 3, device="cpu", progress=Progress()).astype(int))
        finally:
            torch.set_num_threads(threads)
        assert (np.abs(found[0] - found[1]) <= 1).mean() >= 0.999

    def test_of_other_code_is_another_training(self, trained: Path) -> None:
        """A changed model never goes on from another's checkpoint."""
        described = json.loads((trained / "generator.json").read_text())
        (trained / "generator.json").write_text(json.dumps(described | {"code_sha256": "0" * 64}))
        with pytest.raises(DataError, match=r"trained otherwise \(code_sha256\)"):
            train_generator(plan("stylegan2", 1), squares(64), trained, device="cpu", progress=Progress())

    def test_a_training_ends_in_time(self, tmp_path: Path) -> None:
        """After the minutes given, with as many steps as were done."""
        described = train_generator(
            plan("beta-vae", 10**9), squares(64), tmp_path, device="cpu", progress=Progress(), minutes=0.01
        )
        assert 0 < described["steps"] < 10**9
        assert len(sample_generator(tmp_path, 2, 0, device="cpu", progress=Progress())) == 2


class TestStyleGAN2:
    """Closed forms of its parts."""

    def test_modulation_is_that_of_the_weights(self) -> None:
        """Scaling inputs and outputs equals a convolution with modulated, demodulated weights per image."""
        torch.manual_seed(0)
        layer = ModulatedConvolution(3, 4, 3, style=5)
        x, style = torch.randn(2, 3, 8, 8), torch.randn(2, 5)
        weights = layer.convolution.weight * layer.convolution.scale
        for image, scale, found in zip(x, layer.style(style), layer(x, style), strict=True):
            modulated = weights * scale[None, :, None, None]
            modulated = modulated / (modulated.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            torch.testing.assert_close(found, F.conv2d(image, modulated, padding=1), rtol=1e-4, atol=1e-5)

    def test_sampling_up_and_down_keeps_constants(self) -> None:
        """The filters sum to one; down after up keeps a constant image."""
        x = torch.full((1, 2, 8, 8), 3.0)
        torch.testing.assert_close(larger(x), torch.full((1, 2, 16, 16), 3.0))
        torch.testing.assert_close(smaller(larger(x))[..., 1:-1, 1:-1], x[..., 1:-1, 1:-1])

    def test_truncation_zero_gives_the_mean_style(self) -> None:
        """Without noise, all images are one."""
        model = make("stylegan2").eval()
        model.truncation = 0.0
        samples = model.sample(3, torch.Generator().manual_seed(0))
        torch.testing.assert_close(samples[0], samples[1])


def test_squared_slope_of_a_plane() -> None:
    """A critic a·x has slope |a| everywhere: R1 is |a|^2."""
    direction = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert squared_slope(lambda x: (x * direction).sum((1, 2, 3)), torch.randn(5, 2, 1, 1)) == pytest.approx(25)


class TestDDGAN:
    """Its diffusion in four steps."""

    def test_the_last_step_is_almost_noise_and_the_first_is_the_image(self) -> None:
        """The variance-preserving schedule: exp(-0.05 t - 9.95 t^2 / 1) of the power is kept at t in [0, 1]."""
        steps = DiffusionSteps(4)
        t = torch.arange(5) / 4
        torch.testing.assert_close(steps.kept, torch.exp(-0.1 * t - 0.5 * 19.9 * t**2))

    def test_pairs_have_the_marginals(self) -> None:
        """A constant image, diffused in two stages, has mean and variance of diffusing it at once."""
        torch.manual_seed(0)
        steps = DiffusionSteps(4)
        image = torch.full((20000, 1, 1, 1), 0.8)
        for time in (1, 2, 4):
            previous, noisy = steps.pair(image, torch.full((20000,), time))
            for x, kept in ((previous, steps.kept[time - 1]), (noisy, steps.kept[time])):
                assert x.mean().item() == pytest.approx(0.8 * kept.sqrt().item(), abs=0.03)
                assert x.var().item() == pytest.approx(1 - kept.item(), abs=0.03)

    def test_the_posterior_of_the_true_image_has_the_marginal_before(self) -> None:
        """Bayes: drawing back from the noisy image, with the image known, gives the distribution one step earlier."""
        torch.manual_seed(0)
        steps = DiffusionSteps(4)
        image, time = torch.full((20000, 1, 1, 1), -0.5), torch.full((20000,), 3)
        _, noisy = steps.pair(image, time)
        back = steps.posterior(image, noisy, time, torch.randn_like(image))
        assert back.mean().item() == pytest.approx(-0.5 * steps.kept[2].sqrt().item(), abs=0.03)
        assert back.var().item() == pytest.approx(1 - steps.kept[2].item(), abs=0.03)
        first = torch.ones_like(time)
        torch.testing.assert_close(steps.posterior(image, noisy, first, torch.randn_like(image)), image)


class TestDFCVAE:
    """Its perception."""

    def test_equal_images_have_no_feature_loss(self) -> None:
        """And different ones have some; the fixed network does not learn with the autoencoder."""
        model = make("dfc-vae")
        images = torch.rand(4, 1, 32, 32) * 2 - 1
        assert model.feature_loss(images, images) == 0
        assert model.feature_loss(images.flip(3), images) > 0
        before = [value.clone() for value in model.perception.parameters()]
        model.train()
        model.train_step(images, 6)
        assert all(torch.equal(*pair) for pair in zip(before, model.perception.parameters(), strict=True))

    def test_unknown_perception(self) -> None:
        """What there is is named."""
        with pytest.raises(ParameterError, match="'rotation' or 'vgg19'"):
            model_class("dfc-vae")(32, 1, perception="vgg16")


def test_ldm_trains_one_part_after_the_other() -> None:
    """First the autoencoder alone, then the diffusion alone, on latents of unit variance."""
    model = make("ldm").train()
    real = to_tensor(torch.from_numpy(squares(16)))

    def weights(module: torch.nn.Module) -> list[torch.Tensor]:
        return [value.clone() for value in module.parameters()]

    def changed(module: torch.nn.Module, before: list[torch.Tensor]) -> bool:
        return any(not torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True))

    autoencoder, diffusion = weights(model.autoencoder), weights(model.network)
    model.train_step(real, 1)
    assert changed(model.autoencoder, autoencoder)
    assert not changed(model.network, diffusion)
    autoencoder = weights(model.autoencoder)
    model.train_step(real, 31)
    assert not changed(model.autoencoder, autoencoder)
    assert changed(model.network, diffusion)
    latents = model.autoencoder.encode(real).latent_dist.sample() * model.scale
    assert latents.std().item() == pytest.approx(1, abs=0.1)


class TestCommands:
    """`gmbench generators` end to end."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Real images as PNG files."""
        write_samples(squares(40), tmp_path / "reals", "real")
        return tmp_path / "reals"

    @pytest.mark.parametrize("name", catalogue())
    def test_train_then_sample(self, command, folder: Path, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
        """From a folder of images to a trained model, to a folder and to a parquet file with the same samples."""
        chosen = [word for key, value in SMALL[name].items() for word in ("--set", f"{key}={value}")]
        out = str(tmp_path / "model")
        code, text, _ = command(
            "generators", "train", name, "--images", str(folder), "--out", out, "--steps", "2", "--batch-size", "8",
            *chosen,
        )  # fmt: skip
        assert code == 0
        assert f"trained {name} on 40 images" in text
        assert (tmp_path / "model" / "grid.png").exists()
        for place in ("samples", "samples.parquet"):
            wanted = str(tmp_path / place)
            code, _, _ = command("generators", "sample", out, "-n", "5", "--seed", "3", "--out", wanted)
            assert code == 0
        table = parquet.read_table(tmp_path / "samples.parquet")
        files = [path.read_bytes() for path in (tmp_path / "samples").iterdir()]
        assert len(files) == 5
        assert sorted(files) == sorted(row["image"]["bytes"] for row in table.to_pylist())

    def test_a_dataset_to_train_on(self, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its manifold and the reals of role train: nothing that a method is tested on."""

        use_catalogue(monkeypatch, tiny_folder.parent, {"tiny": make_card()})
        assert training_images("tiny", Progress()).shape == (50 + 42, 32, 32, 3)

    def test_grey_images_have_one_channel(self, folder: Path) -> None:
        """Files are RGB; what a model learns from them is not."""
        assert training_images(str(folder), Progress()).shape == (40, 32, 32, 1)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("train", "dcgan", "--images", "nowhere", "--out", "{out}"), "neither a dataset"),
            (("train", "dcgam", "--images", "{reals}", "--out", "{out}"), "Nearest: dcgan"),
            (("train", "dcgan", "--images", "{reals}", "--out", "{out}", "--set", "widht=3"), "Nearest: width"),
            (("train", "dcgan", "--images", "{reals}", "--out", "{out}", "--set", "width=x"), "expected int, got 'x'"),
            (("train", "dcgan", "--images", "{odd}", "--out", "{out}"), "is 20x32, expected square"),
            (("train", "dcgan", "--images", "{text}", "--out", "{out}"), "cannot be read as an image"),
            (("train", "dcgan", "--images", "{empty}", "--out", "{out}"), "holds no images"),
            (("sample", "{empty}", "-n", "2", "--out", "{out}"), "holds no generator"),
        ],
    )
    def test_bad_input(self, command, folder: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
        """One line, exit code 2."""
        from PIL import Image

        places = {name: tmp_path / name for name in ("odd", "text", "empty", "out")} | {"reals": folder}
        for name in ("odd", "text", "empty"):
            places[name].mkdir()
        Image.new("RGB", (20, 32)).save(places["odd"] / "a.png")
        (places["text"] / "a.png").write_text("no image")
        code, _, err = command("generators", *(argument.format(**places) for argument in arguments))
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
        assert not places["out"].exists()

    def test_samples_do_not_mix_with_other_files(self, folder: Path) -> None:
        """A folder with other images in it is left alone."""
        before = sorted(folder.iterdir())
        with pytest.raises(OutputError, match="holds other files"):
            write_samples(squares(3, seed=9), folder, "x")
        assert sorted(folder.iterdir()) == before
