"""What makes datasets: real images, samples of trained generators, encoders' training, matching, the build itself.

The generative models themselves are in `generators`, reading what was built in `data`.
"""
