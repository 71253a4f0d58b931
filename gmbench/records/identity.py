"""The identity of a run, from its dataset, its images and its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gmbench.data.dataset import Dataset
from gmbench.protocol.settings import Roles
from gmbench.records.schema import Identity
from gmbench.support.digests import evaluator_sha256
from gmbench.support.parameters import Value
from gmbench.support.seeds import seed_from


def identity_of(
    dataset: Dataset,
    roles: Roles,
    setting: str,
    seed: int,
    *,
    method: str,
    method_sha256: str,
    scored_by: Sequence[str],
    device: str,
    parameters: Mapping[str, Value] | None = None,
    defaults: Mapping[str, Value] | None = None,
    harness_sha256: str = "",
    packages: Mapping[str, str] | None = None,
    precision: str = "32-true",
) -> Identity:
    """The identity of a run of a method on the images of a setting.

    Args:
        dataset: what the method is fitted on; `roles` may be tested on another.
        seed: the user's; `random_state` follows from it and the names.
        scored_by: the groups of scores that are computed, whose code is named.
        parameters, defaults: those of the run, and what they are unless somebody gives them.
        harness_sha256, packages: of the code that decided the predictions; empty where somebody handed these in.
    """
    return Identity(
        dataset=dataset.card.slug,
        dataset_revision=dataset.revision,
        roles_sha256=dataset.roles_sha256,
        setting=setting,
        tested_on=roles.tested_on.card.slug if roles.tested_on else None,
        tested_revision=roles.tested_on.revision if roles.tested_on else None,
        method=method,
        method_sha256=method_sha256,
        parameters=dict(parameters or {}),
        given={name: value for name, value in (parameters or {}).items() if value != (defaults or {})[name]},
        seed=seed,
        random_state=random_state_of(dataset.card.slug, method, seed),
        sources=list(roles.test.sources),
        harness_sha256=harness_sha256,
        evaluators_sha256={name: evaluator_sha256(name) for name in scored_by},
        packages=dict(packages or {}),
        device=device,
        precision=precision,
    )


def random_state_of(dataset: str, method: str, seed: int) -> int:
    """What a method's random numbers start from: one for each dataset, method and seed of the user's."""
    return seed_from(dataset, method, seed)
