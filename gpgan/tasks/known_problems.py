"""Configurations of a critic that are known to fail."""

from __future__ import annotations

from torch import nn

from gpgan.nn.spectral import is_normalised
from gpgan.settings.config import AdversarialConfig, OptimizerConfig, PenaltyConfig
from gpgan.torch_private import batch_norms


def known_problems(config: AdversarialConfig, critic: nn.Module) -> list[str]:
    """The known problems of such a configuration and critic, one sentence each."""
    types = [type(module) for module in critic.modules()]
    penalised = config.penalty.weight > 0
    problems = []
    if penalised and any(issubclass(each, batch_norms()) for each in types):
        problems.append(
            "the critic has BatchNorm and a gradient penalty: it makes the scores depend on the other samples of "
            "the batch, so the penalty is not per sample (arXiv 1704.00028, section 4); use --network.norm layer or none"
        )
    if penalised and nn.ELU in types:
        problems.append(
            "the critic has ELU activations, with which gradient penalties are reported not to converge "
            "(igul222/improved_wgan_training#16); use LeakyReLU, or a lower --optimizer.lr"
        )
    own, usual = config.penalty, PenaltyConfig()
    idle = [name for name in ("points", "target", "one_sided", "lazy") if getattr(own, name) != getattr(usual, name)]
    if not penalised and idle:
        names = " and ".join(f"penalty.{name.replace('_', '-')}" for name in idle)
        problems.append(f"penalty.weight is 0, which leaves {names} without effect; use a weight above 0, or drop them")
    held = penalised or config.weight_clip or any(map(is_normalised, critic.modules()))
    if config.objective == "wasserstein" and not held:
        problems.append(
            "nothing limits the slope of the Wasserstein objective's critic, so its loss has no lower bound; "
            "use --penalty.weight 10, --weight-clip 0.01 or --network.spectral-norm"
        )
    if config.weight_clip and config.optimizer.kind != "rmsprop" and config.optimizer.beta1 > 0:
        problems.append(
            "a critic with clipped weights trains unstably with momentum (arXiv 1701.07875, section 4); "
            "use --optimizer.kind rmsprop, or --optimizer.beta1 0"
        )
    return problems


def without_effect(config: AdversarialConfig) -> list[str]:
    """The settings that other settings leave without effect, one sentence each."""
    own, usual = config.optimizer, OptimizerConfig()
    problems = []
    if own.kind == "rmsprop" and own.beta1 != usual.beta1:
        problems.append(f"optimizer.beta1 is {own.beta1:g} and has no effect: optimizer.kind is 'rmsprop'; drop it")
    if own.kind == "sgd" and own.beta2 != usual.beta2:
        problems.append(
            f"optimizer.beta2 is {own.beta2:g} and has no effect: optimizer.kind is 'sgd', whose momentum is optimizer.beta1; "
            "drop it"
        )
    if config.penalty.weight and config.penalty.one_sided and not config.penalty.target:
        problems.append("penalty.one-sided has no effect: penalty.target is 0, and no norm is below it; drop it")
    return problems
