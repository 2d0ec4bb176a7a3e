"""Model-agnostic meta-learning.

C. Finn, P. Abbeel, S. Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
Networks", 2017: weights ``w`` are trained so that a few steps ``w' = w - a * grad L_support(w)``
give a low ``L_queries(w')``, through whose steps the gradient is taken (second order). The
first-order form takes the inner gradients as constants.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from edgekit.core.model_base import FrozenModel
from edgekit.errors import InputError
from edgekit.training.few_shot.episodes import Episode


class Maml(FrozenModel):
    """How a classifier adapts to an episode.

    The model gives ``[n, classes]`` with at least as many classes as the episode has ways; those
    beyond them are never a query's class. Its mode is left as it is: in training mode
    BatchNorm takes the statistics of the support and of the queries, each as one batch (the
    paper's way, by which a prediction depends on the other queries); in evaluation mode the
    stored ones. Neither changes the model's weights or buffers.
    """

    inner_steps: int = Field(1, ge=1, description="Gradient steps on the support.")
    inner_lr: float = Field(0.4, gt=0, description="Learning rate of these steps.")
    first_order: bool = Field(False, description="Take the inner gradients as constants.")
    queries_alone: bool = Field(
        False,
        description="Predict each query in a batch with the support alone, so that in training "
        "mode no prediction depends on other queries.",
    )

    def adapt(
        self, model: nn.Module, episode: Episode, *, differentiable: bool
    ) -> dict[str, Tensor]:
        """Weights after the inner steps, by name.

        Args:
            model: Starting point.
            episode: Its support is learnt.
            differentiable: Keep the graph for a gradient with respect to the starting point.
        """
        weights: dict[str, Tensor] = {
            name: item for name, item in model.named_parameters() if item.requires_grad
        }
        second_order = differentiable and not self.first_order
        for _ in range(self.inner_steps):
            error = functional.cross_entropy(
                _scores(model, weights, episode.support, episode.ways), episode.support_labels
            )
            gradients = torch.autograd.grad(
                error, list(weights.values()), create_graph=second_order
            )
            weights = {
                name: item - self.inner_lr * gradient
                for (name, item), gradient in zip(weights.items(), gradients, strict=True)
            }
            if not differentiable:
                weights = {name: item.detach().requires_grad_() for name, item in weights.items()}
        return weights

    def loss(self, model: nn.Module, episode: Episode) -> Tensor:
        """Mean cross-entropy of the queries after adaptation, a scalar.

        Raises:
            InputError: If the model gives no ``[n, classes]`` with a class for each way.
        """
        weights = self.adapt(model, episode, differentiable=True)
        found = _scores(model, weights, episode.queries, episode.ways)
        return functional.cross_entropy(found, episode.query_labels)

    def predict(self, model: nn.Module, episode: Episode) -> Tensor:
        """Class of each query after adaptation, ``int64[queries]``.

        Raises:
            InputError: See `loss`.
        """
        # Adaptation needs gradients also where the caller has switched them off.
        with torch.enable_grad():
            weights = self.adapt(model, episode, differentiable=False)
        with torch.no_grad():
            if not self.queries_alone:
                return _scores(model, weights, episode.queries, episode.ways).argmax(dim=1)
            batches = (torch.cat([episode.support, item[None]]) for item in episode.queries)
            found = [_scores(model, weights, batch, episode.ways)[-1] for batch in batches]
            return torch.stack(found).argmax(dim=1)


def _scores(model: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor, ways: int) -> Tensor:
    """Scores of the episode's classes, ``[n, ways]``, by the model with other weights."""
    # BatchNorm writes into the buffers it is given; copies keep the model's own.
    buffers = {name: item.clone() for name, item in model.named_buffers()}
    found: Tensor = functional_call(model, {**weights, **buffers}, (inputs,))
    if found.ndim != 2 or len(found) != len(inputs) or found.shape[1] < ways:
        raise InputError(
            f"MAML needs a model that gives [n, classes] with {ways} or more classes; this one "
            f"gives {list(found.shape)} for {len(inputs)} samples."
        )
    return found[:, :ways]
