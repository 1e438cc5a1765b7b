"""``fit``: from a recipe and a prepared dataset to a run folder that can be resumed at any time.

A run folder holds ``recipe.yaml`` (complete), ``log.csv`` (a row per epoch), ``run.json`` (facts and
progress), ``model/`` (the kept epoch, loadable from the first finished epoch on) and, until the run is
finished, ``last.safetensors`` (the state to resume from).
"""

from __future__ import annotations

import json
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only

from cxreport.data.store import PreparedDataset
from cxreport.errors import UserError
from cxreport.options import TrainingOptions
from cxreport.recipe import Recipe, RecipeFile
from cxreport.training.activations import checkpoint_blocks
from cxreport.training.averages import AveragedWeights
from cxreport.training.batches import Batches
from cxreport.training.files import mend, remove, write_text, writing
from cxreport.training.generators import generator_subject
from cxreport.training.keeper import MODEL, RUN, STATE, RunKeeper
from cxreport.training.progress import TrainingProgress
from cxreport.training.provenance import facts
from cxreport.training.sharding import Sharded
from cxreport.training.state import SafetensorsState, load_state
from cxreport.training.subject import Subject
from cxreport.training.task import Task
from cxreport.training.throughput import Throughput

FORMAT = "cxreport-run-1"
RECIPE = "recipe.yaml"
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

logger = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    dataset: PreparedDataset,
    out: Path,
    *,
    resume: bool = False,
    devices: int | str = "auto",
) -> Path:
    """Train the recipe's generator on the train split, choose its epoch on val; return the model folder.

    See :func:`run`; UserError also for a split without usable studies.
    """
    return run(generator_subject(recipe, dataset), out, resume=resume, devices=devices)


def run(subject: Subject, out: Path, *, resume: bool = False, devices: int | str = "auto") -> Path:
    """Train `subject` into the run folder `out`; return its model folder.

    `devices` is a number or "auto" (every accelerator of this machine, or the processor);
    ``training.batch_size`` counts per device. With `resume` the run in `out` goes on after its last finished
    epoch, to the weights of an unbroken run; a finished run is left as it is.

    Raises UserError for a folder that is not empty, another recipe, dataset or number of devices than the run
    to resume had, a loss that is not finite, a folder that cannot be written. On Ctrl-C the folder is left
    loadable, how to resume is logged, and KeyboardInterrupt is raised.
    """
    recipe = subject.recipe
    first_process = getattr(rank_zero_only, "rank", 0) == 0
    earlier = _earlier_run(out, resume) if first_process or resume else None
    if earlier is not None:
        if first_process:
            mend(out / MODEL)
        _refuse_changes(earlier, subject, out)
        if earlier["status"] == "finished":
            logger.info(
                "The run in %s is finished (epoch %s is kept); nothing to do.", out, earlier["kept_epoch"]
            )
            return out / MODEL
    built = subject.build()
    known = {
        "format": FORMAT,
        **facts(recipe, subject.dataset, subject.encoder_init, built.system),
        "studies": built.counts,
        "options": recipe.model_dump(mode="json"),
    }
    if recipe.training.activation_checkpointing:
        checkpoint_blocks(built.system)
    ema = recipe.training.ema
    averages = AveragedWeights(built.system, ema) if ema is not None else None
    keeper = RunKeeper(out, recipe, built, known, averages)
    state = out / STATE if earlier is not None and (out / STATE).exists() else None
    if state is not None:
        keeper.load_state_dict(load_state(state)["callbacks"][keeper.state_key])
    if not any(parameter.requires_grad for parameter in built.system.parameters()):
        _keep_as_built(out, recipe, keeper)
        return out / MODEL
    with _quiet():
        callbacks = [keeper, TrainingProgress(), *([Throughput()] if built.throughput else [])]
        callbacks += [averages] if averages is not None else []
        trainer = _trainer(recipe, devices, callbacks)
        known["devices"] = trainer.world_size
        if earlier is not None and earlier["devices"] != trainer.world_size:
            raise UserError(
                f"The run in {out} is on {earlier['devices']} device(s), not {trainer.world_size}; "
                f"resume it with --devices {earlier['devices']}."
            )
        if trainer.is_global_zero:
            _begin(out, recipe, keeper)
        if not keeper.complete:
            progress = trainer.fit_loop.epoch_progress.current
            progress.processed = progress.completed = keeper.epochs  # type: ignore[attr-defined]
            task = Task(built.system, recipe.training, recipe.seed, built.encoder_parameters)
            batches = Batches(recipe, built.studies)
            with _resumable_interrupt(trainer, keeper):
                trainer.fit(task, datamodule=batches, ckpt_path=state)
        if trainer.is_global_zero:
            _finish(out, keeper)
    return out / MODEL


def _earlier_run(out: Path, resume: bool) -> dict[str, Any] | None:
    """Facts of the run to resume; None for a new one."""
    try:
        filled = out.exists() and any(out.iterdir())
        if not filled and resume:
            raise UserError(f"There is no run to resume in {out}; start it without --resume.")
        if not filled:
            return None
        if not resume:
            raise UserError(
                f"The folder {out} is not empty; choose another --out, or continue its run with --resume."
            )
        run: dict[str, Any] = json.loads((out / RUN).read_text(encoding="utf-8"))
        if run.get("format") != FORMAT:
            raise ValueError(f"format {run.get('format')!r}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{out} is not a run folder that can be used ({error}); choose another --out."
        ) from None
    return run


def _refuse_changes(earlier: dict[str, Any], subject: Subject, out: Path) -> None:
    changes = list(_differences(earlier["options"], subject.recipe.model_dump(mode="json")))
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UserError(
            f"The run in {out} has another recipe: {'; '.join(changes[:3])}{more}; "
            "resume it with the options it began with."
        )
    if earlier["dataset"]["sha256"] != subject.dataset["sha256"]:
        raise UserError(
            f"The run in {out} was on another dataset (sha256 {earlier['dataset']['sha256'][:12]}) than "
            f"{subject.data_name} (sha256 {subject.dataset['sha256'][:12]}); "
            "give --data the dataset it began with."
        )


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield f"{key} is {before!r} there and {now!r} here"


def _keep_as_built(out: Path, recipe: RecipeFile, keeper: RunKeeper) -> None:
    """The run folder of what has nothing to train: finished, without an epoch."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / RECIPE, recipe.dump())
        keeper.save_as_built()
        keeper.write_log()
        keeper.write_facts("finished")
    logger.info("%s: nothing to train; the model is complete.", recipe.name)


def _begin(out: Path, recipe: RecipeFile, keeper: RunKeeper) -> None:
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        keeper.write_facts("running")
        keeper.write_log()
        write_text(out / RECIPE, recipe.dump())
    options = recipe.training
    logger.info(
        "%s: %s parameters, %s of %d studies, %d studies a step on %d device(s), from epoch %d.",
        recipe.name,
        f"{keeper.facts['parameters']:,}",
        f"{options.epochs} epoch{'s' * (options.epochs > 1)}",
        keeper.facts["studies"]["train"],
        options.batch_size * keeper.facts["devices"],
        keeper.facts["devices"],
        keeper.epochs + 1,
    )


def _finish(out: Path, keeper: RunKeeper) -> None:
    with writing(out):
        keeper.built.finish(out)
        keeper.write_facts("finished")
        remove(out / STATE)
    if keeper.epochs < keeper.recipe.training.epochs:
        logger.info("Stopped after %.1f minutes (training.max_minutes).", keeper.minutes)


def _trainer(recipe: RecipeFile, devices: int | str, callbacks: list[Any]) -> lightning.Trainer:
    options = recipe.training
    try:
        trainer = lightning.Trainer(
            devices=devices,
            strategy=_strategy(options, devices),
            precision=PRECISIONS[options.precision],  # type: ignore[arg-type]
            max_epochs=options.epochs,
            accumulate_grad_batches=options.accumulate,
            gradient_clip_val=options.gradient_clip,
            callbacks=callbacks,
            plugins=[SafetensorsState()],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--devices {devices} with training.precision={options.precision}: {reason}"
        ) from None
    if options.precision == "16" and trainer.strategy.root_device.type == "cpu":
        raise UserError("training.precision: 16 needs a GPU; use bf16 or 32 on a processor.")
    return trainer


def _strategy(options: TrainingOptions, devices: int | str) -> str | Sharded:
    count = max(1, torch.cuda.device_count()) if devices == "auto" else int(devices)
    if count == 1:
        if options.strategy == "fsdp":
            logger.warning("training.strategy: fsdp shares a model among devices; this run has one.")
        return "auto"
    if options.strategy != "fsdp":
        # a loss need not use all of an encoder: what only its pooled vector needs has no gradient in R2Gen
        return "ddp_find_unused_parameters_true"
    if options.ema is not None:
        raise UserError("training.ema is not there with training.strategy: fsdp; leave one of them out.")
    return Sharded(count)


@contextmanager
def _resumable_interrupt(trainer: lightning.Trainer, keeper: RunKeeper) -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C into a KeyboardInterrupt, the run folder left as of the last epoch."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        if trainer.is_global_zero:
            with writing(keeper.out):
                keeper.write_facts("interrupted")
            what = (
                f"{keeper.out / MODEL} is epoch {keeper.kept['epoch']}"
                if keeper.kept
                else "there is no model yet"
            )
            logger.warning(
                "Stopped in epoch %d of %d; %s. The same command with --resume continues.",
                keeper.epochs + 1,
                keeper.recipe.training.epochs,
                what,
            )
        raise KeyboardInterrupt from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute Lightning's banners, tips and advice for the time of a run; warnings of others are shown."""
    levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        # FSDP2 warns of what it returns being changed in place, which no loss does
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
