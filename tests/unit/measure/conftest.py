"""A classifier that computes with numpy, behind the session contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
import pytest

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import Session

type Arrays = Mapping[str, npt.NDArray[Any]]


class NumpySession:
    """Scores by a function; keeps the batch sizes it was fed."""

    runtime = "numpy"

    def __init__(
        self,
        signature: ModelSignature,
        function: Callable[[Arrays], dict[str, npt.NDArray[Any]]],
    ) -> None:
        self.signature = signature
        self.function = function
        self.fed: list[int] = []
        self.closed = False

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        self.fed.append(len(next(iter(feeds.values()))))
        return self.function(feeds)

    def close(self) -> None:
        self.closed = True


type MakeSession = Callable[..., NumpySession]


@pytest.fixture
def make_session() -> MakeSession:
    """Makes a session from a score function of the input ``x``."""

    def make(
        score: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        *,
        shape: tuple[int | str, ...] = ("batch", 4),
        outputs: tuple[tuple[int | str, ...], ...] = (("batch", 10),),
    ) -> NumpySession:
        signature = ModelSignature(
            inputs=(TensorSpec(name="x", shape=shape),),
            outputs=tuple(
                TensorSpec(name=f"out{index}", shape=dims) for index, dims in enumerate(outputs)
            ),
        )

        def function(feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
            return {spec.name: score(feeds["x"]) for spec in signature.outputs}

        session = NumpySession(signature, function)
        checked: Session = session
        assert checked is session
        return session

    return make
