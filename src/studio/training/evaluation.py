"""One evaluation: 002 §5.2's figures and bits per byte over the validation rows.

It knows the module and its validation batches, and nothing of when it is due or what follows from the figures.
"""

import math

from studio.core.errors import ValidationFailure
from studio.core.stopping import StopFlag
from studio.training.datamodule import TokenDataModule
from studio.training.metrics import Tally, bits_per_byte, perplexity
from studio.training.modules import LanguageModule


def evaluate(
    module: LanguageModule, data: TokenDataModule, limit: int | None, stop: StopFlag
) -> dict[str, float | None] | None:
    """002 §5.2's figures and bits per byte over the validation rows; None when asked to stop meanwhile.

    Draws no random number, so an evaluation more or less changes nothing in the course of the run.
    """
    total, right = Tally(), 0
    was_training = module.training
    module.eval()
    try:
        for batch in data.validation_batches(limit):
            if stop.is_set():
                return None
            moved = module.transfer_batch_to_device(batch, module.device, 0)
            with module.trainer.precision_plugin.forward_context():
                tally, hits = module.evaluate_batch(moved)
            total.add(tally)
            right += hits
    finally:
        module.train(was_training)
    loss = total.loss if total.loss is not None else 0.0
    return {
        "eval_loss": loss,
        "perplexity": perplexity(loss),
        "accuracy": right / max(1, total.tokens),
        "bits_per_byte": bits_per_byte(total.nats, total.text_bytes),
    }


def ensure_finite(value: float, name: str, step: int) -> None:
    """ValidationFailure for a run that has diverged; nothing is saved from then on."""
    if not math.isfinite(value):
        raise ValidationFailure(
            f"the {name} is {value} at step {step}", where="training", remedy="Lower the learning rate."
        )
