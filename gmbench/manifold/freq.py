"""FREQ space: the two-dimensional spectrum of each channel (table 3: channel-wise FFT).

The paper does not say which real-valued form of the spectrum it takes. Its authors' code takes `log`, the logarithm of
the magnitude plus 1e-12. With the complex spectrum, squared distances are those of RGB space times the number of pixels
(Parseval), so neighbours are RGB's; that reading is `complex`, kept to show it. The default is `log1p magnitude`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft

from gmbench.errors import ParameterError
from gmbench.manifold.space import Space

SPECTRA = ("log1p magnitude", "log", "magnitude", "complex")
LEAST_MAGNITUDE = 1e-12


class Frequency(Space):
    """Centred spectrum of pixels in [0, 1], without normalisation of the transform."""

    def __init__(self, spectrum: str = "log1p magnitude") -> None:
        if spectrum not in SPECTRA:
            raise ParameterError(f"spectrum: expected one of {', '.join(SPECTRA)}, got '{spectrum}'.")
        self.spectrum = spectrum

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, height, width, 3) to float32 (n, 3, height, width); `complex`: (n, 6, ...), real then imaginary."""
        # The logarithm of next to nothing shows single precision's rounding errors.
        precision = np.dtype(np.float64 if self.spectrum == "log" else np.float32)
        channels: np.ndarray = pixels.transpose(0, 3, 1, 2).astype(precision) / 255
        spectrum = scipy.fft.fftshift(scipy.fft.fft2(channels), axes=(-2, -1))
        if self.spectrum == "complex":
            return np.concatenate([spectrum.real, spectrum.imag], axis=1)
        magnitude = np.abs(spectrum)
        if self.spectrum == "log":
            return np.log(magnitude + LEAST_MAGNITUDE).astype(np.float32)
        return np.log1p(magnitude) if self.spectrum == "log1p magnitude" else magnitude

    def describe(self) -> dict[str, Any]:
        return {"space": "freq", "spectrum": self.spectrum}
