"""What every test has: a generator of its own."""

import zlib

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--seed",
        type=int,
        default=0,
        help="another seed of the fixture `rng`; tests hold for any of them",
    )


@pytest.fixture
def rng(request):
    """A generator of the test's own: what it draws does not hang on the tests before it."""
    case = f"{request.path.name}::{request.node.name}"
    return np.random.default_rng([zlib.crc32(case.encode()), request.config.option.seed])


def pytest_collection_modifyitems(items):
    """Refuse generators that tests share, since what one draws would hang on who ran before."""
    generators = (np.random.Generator, np.random.RandomState)
    for module in {item.module for item in items if hasattr(item, "module")}:
        shared = [name for name, value in vars(module).items() if isinstance(value, generators)]
        if shared:
            raise pytest.UsageError(
                f"{module.__name__} shares generators among its tests: {shared}; take the fixture "
                "`rng`, or delete them once the module's constants are drawn."
            )
