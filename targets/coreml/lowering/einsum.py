"""Einsum as transpositions, sums and matrix products."""

from __future__ import annotations

import string

from edgekit.graph.node_view import Refusal
from edgekit.targets.coreml.lowering.emitter import Emitter, rank_of, static_sizes
from edgekit.targets.coreml.lowering.registry import Var


def lower_equation(e: Emitter, equation: str, operands: list[Var]) -> Var:
    """Emits an Einsum of one or two operands.

    Args:
        e: Emitter.
        equation: As in ``numpy.einsum``, an ellipsis and an implicit result allowed.
        operands: Float variables of fixed sizes.

    Raises:
        Refusal: For what is beyond transpositions, sums and one product.
    """
    if len(operands) > 2:
        raise Refusal(f"Einsum of {len(operands)} operands", "one or two")
    terms, result = _parse(equation, [rank_of(operand) for operand in operands])
    for term in terms:
        if len(set(term)) != len(term):
            raise Refusal(f"Einsum {equation!r} repeats a letter in one operand", "each once")
    if len(operands) == 1:
        return _one(e, terms[0], result, operands[0])
    return _two(e, terms, result, operands)


def _parse(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of each operand and of the result, the ellipsis spelt out."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise Refusal(f"Einsum {equation!r} has {len(parts)} terms for {len(ranks)} operands")
    free = [letter for letter in string.ascii_letters if letter not in text]
    widths = [rank - len(part.replace("...", "")) for part, rank in zip(parts, ranks, strict=True)]
    batch = "".join(
        free[: max([w for p, w in zip(parts, widths, strict=True) if "..." in p] + [0])]
    )
    terms = [
        part.replace("...", batch[len(batch) - width :])
        for part, width in zip(parts, widths, strict=True)
    ]
    if arrow:
        return terms, right.replace("...", batch)
    joined = "".join(terms)
    once = sorted(letter for letter in set(left) if letter.isalpha() and joined.count(letter) == 1)
    return terms, batch + "".join(once)


def _one(e: Emitter, term: str, result: str, x: Var) -> Var:
    summed = [index for index, letter in enumerate(term) if letter not in result]
    if summed:
        x = e("reduce_sum", x=x, axes=summed, keep_dims=False)
    kept = [letter for letter in term if letter in result]
    perm = [kept.index(letter) for letter in result]
    return x if perm == sorted(perm) else e("transpose", x=x, perm=perm)


def _two(e: Emitter, terms: list[str], result: str, operands: list[Var]) -> Var:
    reduced = []
    for index, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        other = terms[1 - index]
        kept = "".join(letter for letter in term if letter in result or letter in other)
        reduced.append((kept, _one(e, term, kept, operand)))
    (a, x), (b, y) = reduced
    shared = [letter for letter in a if letter in b]
    batch = [letter for letter in shared if letter in result]
    summed = [letter for letter in shared if letter not in result]
    left = [letter for letter in a if letter not in shared]
    right = [letter for letter in b if letter not in shared]
    sizes = dict(zip(a, static_sizes(x, "an Einsum operand"), strict=True))
    for letter, size in zip(b, static_sizes(y, "an Einsum operand"), strict=True):
        if sizes.setdefault(letter, size) != size:
            raise Refusal("Einsum that broadcasts a size of 1", "equal sizes")

    def count(letters: list[str]) -> int:
        total = 1
        for letter in letters:
            total *= sizes[letter]
        return total

    x = _matrix(e, x, a, [*batch, *left, *summed], [count(batch), count(left), count(summed)])
    y = _matrix(e, y, b, [*batch, *summed, *right], [count(batch), count(summed), count(right)])
    made = e("matmul", x=x, y=y)
    order = [*batch, *left, *right]
    made = e("reshape", x=made, shape=[sizes[letter] for letter in order] or [1])
    if not order:
        return e("squeeze", x=made)
    perm = [order.index(letter) for letter in result]
    return made if perm == sorted(perm) else e("transpose", x=made, perm=perm)


def _matrix(e: Emitter, x: Var, letters: str, order: list[str], shape: list[int]) -> Var:
    perm = [letters.index(letter) for letter in order]
    if perm != sorted(perm):
        x = e("transpose", x=x, perm=perm)
    return e("reshape", x=x, shape=shape)
