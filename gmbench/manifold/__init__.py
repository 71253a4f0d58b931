"""The manifold of real images: spaces in which distances to it are measured, encoders, projection."""
