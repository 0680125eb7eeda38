"""The missing wedge of electron tomography: how an observation comes about, and how well its wedge is restored.

The model of an observation is ``y = T(R x + s n)``: a volume x, rotated by R, with white noise n, of which T keeps the
Fourier components that the tilt series measured. Volumes are ``[..., D, H, W]`` with the axes (z, y, x); the beam is
along z at tilt 0. Everything here also takes images ``[..., H, W]`` with the axes (z, x), which the lab uses.
"""
