"""The generator's update that tasks and labs share."""

import pytest
import torch
from torch import nn

from gpgan import objectives
from gpgan.tasks.updates import descend, verdict


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_the_verdict_is_the_objective_s_generator_loss(name):
    chosen = objectives.get(name)
    critic = nn.Linear(2, 1)
    fake, real = torch.randn(5, 2), torch.randn(5, 2)
    expected = chosen.generator_loss(critic(real) if chosen.paired else None, critic(fake))
    assert torch.equal(verdict(chosen, critic, fake, real), expected)


def test_descend_is_a_step_of_the_optimizer():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    descend(optimizer, (weight * torch.tensor([3.0, 4.0])).sum(), max_grad_norm=1.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0 - 0.06, 4.0 - 0.08]))
    descend(optimizer, weight.sum())  # the gradient before is gone
    torch.testing.assert_close(weight.detach(), torch.tensor([2.84, 3.82]))
