"""Which of two sets of images people prefer: the page of a blind test, and the scoring of its answers."""
