"""What one penalised critic step costs, by provider: ``python -m benchmarks critic_step``, told in docs/performance.md."""
