"""Architectures, pretrained weights, checkpoints and recorded steps. How a network is trained is in `learning`."""
