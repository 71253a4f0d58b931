"""My method keeps the contract, and does what its README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gmbench.learning.feature_attributor import FeatureAttributor
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
    """TODO: a case of yours whose answer is known. Here: a plain image has its colour as mean, and no deviation."""
    attributor = method.build(method.parameters({}))
    assert isinstance(attributor, FeatureAttributor)
    plain = np.full((1, 8, 8, 3), 7, np.uint8)
    np.testing.assert_allclose(attributor.features(plain), [[7, 7, 7, 0, 0, 0]])
