"""Pictures whose past is known."""

import io

import numpy as np
from PIL import Image


def photo(seed=0, size=(320, 320), noise=3.0):
    """uint8 (height, width, 3) as a camera might give it: a 1 / f field and sensor noise, never compressed."""
    rng = np.random.default_rng(seed)
    height, width = size
    waves = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / width
    channels = []
    base = rng.normal(size=(height, width))
    for _ in range(3):
        field = np.fft.irfft2(np.fft.rfft2(base + 0.3 * rng.normal(size=size)) / waves**1.2, size)
        channels.append(127 + 45 * field / field.std() + rng.normal(0, noise, size))
    return np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resized(pixels, factor, how=Image.Resampling.BICUBIC):
    size = [round(length * factor) for length in pixels.shape[1::-1]]
    return np.asarray(Image.fromarray(pixels).resize(size, how))
