"""What a model answers on the split that it was validated with, for an endpoint to compare.

baseline = baseline_of(outcomes, "val", len(classes))     # goes into the bundle
"""

import numpy as np

from lib.metrics import Outcomes
from lib.track.drift import CONFIDENCE, Baseline


def baseline_of(outcomes: Outcomes, split: str, num_classes: int) -> Baseline:
    """Count the answers by confidence and by class."""
    # A bin holds its upper bound; rounding may carry a probability past 1.
    places = np.searchsorted(CONFIDENCE, np.minimum(outcomes.confidence, 1.0), side="left")
    return Baseline(
        split=split,
        num_samples=len(outcomes),
        bounds=list(CONFIDENCE),
        confidence=np.bincount(places, minlength=len(CONFIDENCE)).tolist(),
        classes=np.bincount(outcomes.predicted, minlength=num_classes).tolist(),
    )
