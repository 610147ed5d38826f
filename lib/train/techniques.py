"""What differs from a plain step, as the plan of a run tells it.

for line in technique_lines(config.train): say(line)
"""

from lib.config.training import TrainSection


def technique_lines(train: TrainSection) -> list[str]:
    """Describe loss, teachers and step, in as few lines as there is to say."""
    loss = [
        f"focal, gamma {train.focal_gamma:g}" if train.loss == "focal" else "cross entropy",
        *(["classes weighted"] if train.class_weights != "none" else []),
        *([f"smoothed {train.label_smoothing:g}"] if train.label_smoothing else []),
    ]
    step = [
        *([f"in {train.accumulate} pieces"] if train.accumulate > 1 else []),
        *([train.precision] if train.precision != "fp32" else []),
        *([f"gradient clipped at {train.gradient_clip:g}"] if train.gradient_clip is not None else []),
        *(["weights, gradients and optimizer shared out"] if train.shard == "full" else []),
        *(["compiled"] if train.compile else []),
        *(["blocks computed twice"] if train.checkpoint_activations else []),
        *([f"weights averaged, decay {train.ema_decay:g}"] if train.ema_decay is not None else []),
    ]
    share = f"weight {train.teacher_weight:g}, temperature {train.teacher_temperature:g}"
    return [
        *([f"loss      {', '.join(loss)}"] if len(loss) > 1 or train.loss == "focal" else []),
        *(f"teacher   {path} ({share})" for path in train.teachers),
        *([f"step      {', '.join(step)}"] if step else []),
    ]
