"""Generation: from latents to samples, by a generator that is trained against a critic."""
