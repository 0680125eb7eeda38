"""What one critic step with penalty costs, by provider: ``python -m benchmarks critic_step``; see docs/performance.md."""
