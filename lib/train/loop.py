"""The training run, as one worker lives it: for each epoch, for each batch, step; validate; keep state.

    trainer = Trainer(plan, World(), say)
    trainer.run()                       # the best weights are then in plan.state_folder

All that decides a step is a function of (seed, epoch, step): which samples, how they are augmented, dropout
and the learning rate. So a run that starts again from `state/` takes the very steps it would have taken.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler

from lib.console import duration
from lib.data.loader import Batch
from lib.data.order import mix
from lib.errors import RunError
from lib.files import write_text
from lib.images.mix import mix_batch
from lib.metrics import Outcomes, summarise
from lib.models.build import build_pretrained
from lib.models.ema import Ema
from lib.models.freeze import apply_freeze, set_train_mode
from lib.predict.evaluate import Share, evaluate
from lib.train.compiled import compiled
from lib.train.failures import check_loss
from lib.train.inputs import Inputs
from lib.train.memory import peak_mb
from lib.train.notice import Notice, Order
from lib.train.optim import build_optimizer, set_learning_rate
from lib.train.plan import RunPlan
from lib.train.progress import Progress
from lib.train.recompute import recompute_blocks
from lib.train.schedules import learning_rate, rate_curve
from lib.train.sharding import gathered, level, scattered, scattered_optimizer, shard_blocks
from lib.train.sheet import write_sheet
from lib.train.signals import StoppedError
from lib.train.stages import steps_before
from lib.train.state import RunState, is_best, load_state
from lib.train.step import seed_step, step_settings, train_step
from lib.train.telemetry import Telemetry
from lib.train.tracking import open_tracker
from lib.train.world import World
from lib.train.writer import StateWriter

Say = Callable[[str], None]
T = TypeVar("T")

# The same at any number of workers, so that the result is too.
EVALUATION_BATCH = 64


class Trainer:
    """A model in training and all that moves with it."""

    def __init__(self, plan: RunPlan, world: World, say: Say, telemetry: Telemetry | None = None) -> None:
        config = plan.config
        self.plan, self.config, self.world = plan, config, world
        self.say = say if world.rank == 0 else lambda _: None
        self.seed = config.run.seed
        torch.manual_seed(self.seed)
        built = build_pretrained(
            config.model.name,
            **plan.arch_kwargs,
            weights=config.model.weights,
            classes=plan.dataset.classes,
        )
        layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
        self.layout = layout
        # One worker alone, as an elastic run may come to be, has nobody to share with.
        self._is_sharded = config.train.shard == "full" and world.size > 1
        self.model: nn.Module = built.model
        if not self._is_sharded:
            self.model = self.model.to(world.device).to(memory_format=layout)
        if config.train.sync_batchnorm:
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        self.ema = Ema(self.model, config.train.ema_decay) if config.train.ema_decay is not None else None
        # What is evaluated and exported.
        self.measured = self.model if self.ema is None else self.ema.model
        if config.train.checkpoint_activations:
            recompute_blocks(self.model)
        if self._is_sharded:
            shard_blocks([self.model] if self.ema is None else [self.model, self.ema.model], world)
        self.optimizer = build_optimizer(self.model, config.optim)
        self.scaler = GradScaler(world.device.type, enabled=config.train.precision == "fp16")
        self.inputs = Inputs(plan, world, say)
        self.settings = step_settings(plan, world, self.inputs.labels)
        self.state = self._restore()
        self.inputs.use_features(self.model, self.say)
        # What a step runs, on the parameters of the model: all of it, or its part behind the features.
        self.network = self.inputs.learning_part(self.model)
        if config.train.compile:
            self.network = compiled(self.network)
        self.writer = StateWriter(plan.state_folder)
        self.tracker = open_tracker(plan, world, say)
        self.telemetry = telemetry or Telemetry(plan, world)
        self.telemetry.watch(self.optimizer, self.writer, self.inputs.quarantine)
        # State between two steps changes how three or more workers round, see `_epoch`.
        is_heeded = not (config.run.deterministic and world.size > 2)
        self.notice = Notice(world, self.say, config.train.checkpoint_every_s, is_heeded=is_heeded)
        self._epoch_images = 0
        if self.state.epoch == self.state.step == 0:
            self.say(built.note)

    def run(self) -> None:
        """Train until the last epoch is finished; the best weights are then in `state/`."""
        progress = Progress(self.say, self.plan.stages, epoch=self.state.epoch, step=self.state.step)
        if self.world.rank == 0 and self.state.epoch == self.state.step == 0:
            write_sheet(self.plan, self.inputs.order(0))
        has_val = "val" in self.plan.dataset.manifest.splits
        while not self._is_over():
            started = time.monotonic()
            train_metrics = self._epoch(progress)
            train_s = time.monotonic() - started
            val = summarise(self.outcomes("val"), len(self.plan.dataset.classes)) if has_val else None
            self._finish_epoch(train_metrics, val, train_s, time.monotonic() - started)
            if self.notice.after_epoch() is Order.STOP and not self._is_over():
                self._stop()
            if self.world.epoch_done is not None and not self._is_over():
                self.writer.wait()
                self.world.epoch_done(self.state.history[-1])
        if self.state.epoch < self.config.train.epochs:
            self.say(f"stopped early: epoch {self.state.best_epoch} was the best")

    def outcomes(self, split: str) -> Outcomes:
        """Evaluate the model on a split, every sample once; all workers get the whole table."""
        parts = self.measure(split, partial(evaluate, num_classes=len(self.plan.dataset.classes)))
        return Outcomes.concat([part for (part,) in self.world.gather(parts)])

    def measure(self, split: str, function: Callable[..., T]) -> T:
        """Call a function with the model, its loader and this worker's share of a split."""
        self.world.agree_on_buffers(self.measured)
        self.measured.eval()
        batch_size = min(self.config.train.batch_size, EVALUATION_BATCH)
        with self.telemetry.measuring(), self.inputs.measuring(split) as (loader, num_samples, spec):
            share = Share(num_samples, batch_size, self.world.rank, self.world.size, self.world.device)
            found = function(self.inputs.learning_part(self.measured), loader, spec, share)
        if self._is_sharded:
            level(self.measured, self.plan.preprocess, num_samples, batch_size, self.world)
        return found

    def _epoch(self, progress: Progress) -> dict[str, float]:
        """Take the remaining steps of the epoch; return loss and accuracy over all of its samples."""
        state, train = self.state, self.config.train
        freeze = apply_freeze(self.model, train.freeze, state.epoch, train.epochs)
        set_train_mode(self.model, freeze)
        model = self.world.wrap(self.network)
        # Loss, correct and seen of this worker; what was done before a restart counts for worker 0.
        sums = torch.zeros(3, dtype=torch.float64, device=self.world.device)
        if self.world.rank == 0 and state.sums:
            sums += torch.tensor(state.sums, dtype=torch.float64, device=self.world.device)
        asked = time.monotonic()
        self.telemetry.begin(state.sums)
        self._epoch_images = 0
        order = self.inputs.order(state.epoch)
        for batch in self.inputs.training(state.epoch, order, state.step):
            wait_s = time.monotonic() - asked
            images = order.global_size(state.step)
            set_learning_rate(self.optimizer, self._rate(state.step / order.num_steps))
            loss, correct, norm = self._step(model, batch, images)
            if self.ema is not None:
                self.ema.update(self.model)
            if state.epoch == state.step == 0:
                self.say(f"first step {time.time() - self.world.launched_at:.1f} s after launch")
            self.inputs.used(state.epoch, state.step, batch)
            sums[:2] += torch.stack([loss.double(), correct.double()])
            sums[2] += len(batch.ids)
            state.step += 1
            self._epoch_images += images
            progress.step(images, wait_s)
            self.telemetry.step(images, wait_s)
            if progress.is_due():
                done, left_s = state.step / order.num_steps, progress.left_s(state.epoch, state.step - 1)
                self.telemetry.live(state.epoch + done, sums, norm, left_s)
                check_loss(float(loss), state.epoch, self.config)
                progress.line(state.epoch, state.step - 1, float(loss) / len(batch.ids))
            told = self.notice.after_step()
            every = train.checkpoint_every_steps
            is_due = told is Order.SAVE or (every > 0 and state.step % every == 0)
            if told is Order.STOP or (is_due and state.step < order.num_steps):
                self._save(sums)
                if told is Order.STOP:
                    self._stop()
                # A run that starts from this state builds its reducer anew: so does this one, because the
                # layout of the buckets decides how three or more workers round.
                model = self.world.wrap(self.network)
            asked = time.monotonic()
        loss_sum, correct_sum, count = self.world.sum(sums).tolist()
        check_loss(loss_sum, state.epoch, self.config)
        assert count == order.num_samples, (count, order.num_samples)
        self.inputs.share_bad()
        return {"num_samples": count, "loss": loss_sum / count, "accuracy": correct_sum / count}

    def _step(
        self, model: nn.Module, batch: Batch, global_count: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        state, augment = self.state, self.config.augment
        step_seed = mix(self.seed, state.epoch, state.step, self.world.rank)
        seed_step(step_seed, self.world.device)
        images = self.inputs.network_input(batch)
        targets = batch.labels.to(self.world.device, non_blocking=True)
        if augment.mix != "none":
            classes = len(self.plan.dataset.classes)
            images, targets = mix_batch(
                augment.mix, augment.mix_alpha, images, targets, num_classes=classes, seed=step_seed
            )
        if not self.inputs.has_features:  # they have the layout in which the frozen part gave them
            images = images.contiguous(memory_format=self.layout)
        return train_step(
            model,
            self.optimizer,
            self.scaler,
            images,
            targets,
            global_count=global_count,
            settings=self.settings,
        )

    def _is_over(self) -> bool:
        """Tell whether the last epoch is finished, or the last better one is too long ago."""
        state, patience = self.state, self.config.train.early_stop_patience
        waited = state.epoch - state.best_epoch
        return state.epoch >= self.config.train.epochs or (patience is not None and waited >= patience)

    def _rate(self, share: float) -> float:
        """Return the learning rate at a share, from 0 to 1, of the epoch."""
        epoch, epochs = self.state.epoch, self.config.train.epochs
        losses = [finished["val"]["loss"] for finished in self.state.history if "val" in finished]
        rate = learning_rate(self.config.optim, epochs, epoch + share, losses)
        return rate * self.plan.stage(epoch).lr_factor

    def _stop(self) -> NoReturn:
        """End the run where it is, once its state is on the disk."""
        self.writer.wait()
        raise StoppedError(self.plan.folder.name, self.state.epoch, self.state.step)

    def _finish_epoch(
        self, train: dict[str, float], val: dict[str, float] | None, train_s: float, epoch_s: float
    ) -> None:
        state = self.state
        state.rates += rate_curve(self._rate, state.epoch, self.config.train.epochs)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, []
        record = {
            "epoch": state.epoch,
            "step": steps_before(self.plan.stages, state.epoch),
            "lr": self.optimizer.param_groups[-1]["lr"] / self.optimizer.param_groups[-1]["lr_scale"],
            "images_per_s": round(self._epoch_images / train_s, 1),
            "seconds": round(epoch_s, 2),
            "memory_mb": round(peak_mb(self.world.device), 1),
            "train": train,
        }
        if val is not None:
            record["val"] = val
        state.history.append(record)
        self.telemetry.epoch_done(record)
        if is_best(state.history):
            state.best_epoch = state.epoch
            best = gathered(self.measured.state_dict())
            if self.world.rank == 0:
                self.writer.save_best(state.epoch, best)
        self._save(None)
        if self.world.rank == 0:
            lines = "".join(json.dumps(epoch) + "\n" for epoch in state.history)
            write_text(self.plan.folder / "metrics.jsonl", lines)
            self.tracker.update(state.history)
        told = f"val loss {val['loss']:.4f} accuracy {val['accuracy']:.4f}" if val else "no val split"
        best = "  best so far" if state.best_epoch == state.epoch else ""
        self.say(
            f"epoch {state.epoch}/{self.config.train.epochs} done in {duration(epoch_s)}  "
            f"train loss {train['loss']:.4f} accuracy {train['accuracy']:.4f}  {told}{best}"
        )

    def _save(self, sums: torch.Tensor | None) -> None:
        """Write resumable state, with the sums of an unfinished epoch."""
        state = self.state
        self.world.agree_on_buffers(self.model)
        if self.ema is not None:
            self.world.agree_on_buffers(self.ema.model)
        if sums is not None:
            state.sums = self.world.sum(sums.clone()).tolist()
        model, optimizer = gathered(self.model.state_dict()), gathered(self.optimizer.state_dict())
        ema = {} if self.ema is None else gathered(self.ema.state_dict())
        if self.world.rank == 0:
            state.model, state.optimizer, state.ema = model, optimizer, ema
            state.scaler = self.scaler.state_dict()
            state.dataset_digest = self.plan.dataset.manifest.digest
            self.writer.save(state)
        self.notice.saved()

    def _restore(self) -> RunState:
        state = load_state(self.plan.state_folder)
        if state is None:
            return RunState()
        dataset = self.plan.dataset
        if state.dataset_digest != dataset.manifest.digest:
            problem = f"the run {self.plan.folder.name} was trained on another dataset than {dataset.where}"
            raise RunError(problem, "give the dataset it began with, or start a new run")
        self.model.load_state_dict(scattered(state.model, self.model))
        self.optimizer.load_state_dict(scattered_optimizer(state.optimizer, self.optimizer))
        self.scaler.load_state_dict(state.scaler)
        if self.ema is not None:
            self.ema.load_state_dict(state.ema | {"model": scattered(state.ema["model"], self.ema.model)})
        state.model, state.optimizer, state.ema = {}, {}, {}
        self.say(f"going on from epoch {state.epoch + 1}, step {state.step}")
        return state
