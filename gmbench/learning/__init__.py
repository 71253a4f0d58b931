"""What methods are built from: the trainer, attributors on networks and on features, their inputs, spectra.

Architectures are in `networks`, methods themselves in `baselines/` and `methods/`.
"""
