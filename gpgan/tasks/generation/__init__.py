"""Generation: a generator from latents to samples, trained against a critic."""
