"""The explicit schedule: a penalised critic step in four matrix products a layer, without autograd.

The critic must be a sum of chains of linear maps and piecewise-linear activations. Real samples, fake samples and the
penalty's points x form one batch of 3B rows:

1. Forward: the values of all rows.
2. Deltas, backwards: d score / d value of all rows, multiplied by d loss / d score for the real and fake rows. At the
   input, the last B rows are g = d score / d x. From g follows v = d penalty / d g.
3. Tangents of the last B rows, forwards: the derivative of g's graph along v. It is the critic's linear part applied
   to v, with the same activation pattern.
4. Weight gradients: delta outer value for the critic's terms, delta outer tangent for the penalty. The tangents replace
   the values of the last rows, so this is one product over all rows.

Nothing flows back through the forward at x: the second derivative of every activation is zero.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gpgan.schedule.maps import Activation, Gradients, Map, Reshape, Weighted
from gpgan.schedule.tape import Tape

# From the gradients of the scores at the points [B, ...] to d penalty / d gradients, of the same shape.
Direction = Callable[[Tensor], Tensor]

INDEPENDENT = "critic's scores do not depend on its input; expected a critic that is differentiable in its input"


class Schedule:
    """The sweeps over one run of a critic. The last ``point_rows`` rows of its batch are the penalty's points."""

    def __init__(self, tape: Tape, scores: Tensor, point_rows: int) -> None:
        self.maps, self.learned, self.point_rows = tape.maps, tape.learned, point_rows
        self.form = tape.form()
        self.last = tape.number(scores)
        self.plain = scores.shape[0] - point_rows

    def gradients(self, seed: Tensor, direction: Direction, into: Gradients) -> None:
        """Adds the gradients of every parameter.

        Args:
            seed: d loss / d score for the rows of real and fake, 1 for the points.
            direction: Gives v from g.
            into: Where to add them.
        """
        g, needed = self._deltas(seed, into)
        if not self.point_rows:
            return
        if g is None:
            raise ValueError(INDEPENDENT)
        tangents = {0: direction(g)}
        for map in self.maps:
            if isinstance(map, Weighted) and map.delta is not None:
                map.put_tangent(tangents[map.inputs[0]])
                map.gradients(into, self.plain)
            if map.output in needed:
                tangents[map.output] = map.tangent(*(tangents[i] for i in map.inputs))

    def input_gradient(self, seed: Tensor) -> Tensor:
        """The points' delta at the input: d score / d x for a seed of ones."""
        g, _ = self._deltas(seed, {})
        if g is None:
            raise ValueError(INDEPENDENT)
        return g

    def _deltas(self, seed: Tensor, into: Gradients) -> tuple[Tensor | None, set[int]]:
        """The points' delta at the input, and the numbers of the values whose tangents are needed."""
        deltas = {self.last: seed}
        owned: set[int] = set()  # values whose delta may be overwritten
        needed: set[int] = set()
        for map in reversed(self.maps):
            delta = deltas.pop(map.output, None)
            if delta is None:  # the scores do not depend on it
                continue
            learns = isinstance(map, Weighted) and map.learned
            if isinstance(map, Weighted) and learns:
                map.delta = delta
                if not self.point_rows:
                    map.gradients(into, self.plain)
            if self.point_rows and (learns or map.output in needed):
                needed.update(map.inputs)
            # Before the first parameters, only the points' deltas are needed.
            if not any(self.learned[i] for i in map.inputs):
                if not self.point_rows:
                    continue
                delta = delta[-self.point_rows :]
            own = map.output in owned
            if own and isinstance(map, Activation):
                values = map.transpose_in_place(delta)
            else:
                values = map.transpose(delta)
                own = map.renews or (own and isinstance(map, Reshape))
            for i, value in zip(map.inputs, values, strict=True):
                if not self.learned[i]:
                    value = value[value.shape[0] - self.point_rows :]
                if own or i in deltas:
                    owned.add(i)
                deltas[i] = deltas[i] + value if i in deltas else value
        return deltas.get(0), needed

    def operations(self) -> tuple[int, int]:
        """Multiply-adds of the run with its sweeps, and of one forward over the points alone."""
        rows = self.point_rows + self.plain
        done = forward = 0
        for map in self.maps:
            if isinstance(map, Weighted):
                one = map.operations_of_a_row()
                forward += one * self.point_rows
                done += one * (rows + (rows if self.learned[map.inputs[0]] else self.point_rows))
                done += one * (rows * map.parameter.requires_grad + self.point_rows * _leads_on(map, self.maps))
        return done, forward


def _leads_on(map: Map, maps: list[Map]) -> bool:
    """Whether a map with parameters follows, so the tangent of this map's output is needed."""
    reached = {map.output}
    for later in maps:
        if reached & set(later.inputs):
            if later.learned:
                return True
            reached.add(later.output)
    return False
