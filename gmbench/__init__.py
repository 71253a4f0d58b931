"""gmbench: which generative model made this image? Benchmark and leaderboards of model attribution."""
