"""How long an image takes that comes alone, from its bytes to its probabilities.

latency = measure_latency(ensemble, images, where="torch fp32, cpu, 2 threads")
latency.p95_ms
"""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from lib.images.decode import MAX_PIXELS
from lib.predict.ensemble import Ensemble
from lib.report.gate import Latency

# Enough for a 95th percentile that is not the slowest image.
TIMED_IMAGES = 100
_WARM_UPS = 5


def measure_latency(
    ensemble: Ensemble, images: Sequence[bytes], *, where: str, max_pixels: int = MAX_PIXELS
) -> Latency:
    """Answer pictures one after the other, after a few to warm up.

    Raises `ImageError` if one cannot be used.
    """
    times = []
    for number, data in enumerate([*images[:_WARM_UPS], *images]):
        started = perf_counter()
        ensemble.run([ensemble.prepare(data, max_pixels)])
        if number >= min(_WARM_UPS, len(images)):
            times.append(1000 * (perf_counter() - started))
    # The nearest rank, not a mean of two: some image did take so long.
    p95 = float(np.percentile(times, 95, method="higher"))
    return Latency(len(times), float(np.median(times)), p95, where)
