"""The manifold of real images: spaces in which distances to it are measured, encoders, projection.

What is learnt from artifacts is in `learning`; training an encoder makes datasets, and is in `building`.
"""
