"""My method keeps the contract, and does what its README says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from gmbench.registry import Method, find_method
from gmbench.testing import check_attributor


@pytest.fixture
def method() -> Method:
    """The method in this folder."""
    return find_method(str(Path(__file__).parent))


def test_it_keeps_the_contract(method: Method) -> None:
    """See `gmbench.testing.check_attributor`."""
    check_attributor(method, method.card.quick)


def test_a_known_case(method: Method) -> None:
    """TODO: a case of yours whose answer is known. Here: a black image has no features before anything is learnt."""
    code = sys.modules[type(method.build(method.parameters({}))).__module__]
    assert not code.body(3)(torch.zeros(2, 3, 32, 32)).any()
