"""From bundles to an ensemble: measure them, fit what they say together, and write the folder.

plan = plan_ensemble(config)
result = build_ensemble(plan)        # writes plan.folder

Nothing that is reported was fitted: the images of the split are halved, one half is learnt from and the other
is measured on.
"""

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from lib.bundle import Golden
from lib.cluster import local_device
from lib.config.yaml_write import to_yaml
from lib.data.dataset import Samples
from lib.data.quarantine import Quarantine
from lib.errors import UserError
from lib.images.views import VIEWS
from lib.metrics import Outcomes, summarise
from lib.predict.baseline import baseline_of
from lib.predict.engines import Wanted, choose_engine
from lib.predict.ensemble import Ensemble
from lib.predict.evaluate import plan_batches
from lib.predict.fit import Fit, fit_ensemble, take
from lib.predict.folder import (
    CascadeEntry,
    EnsembleContent,
    EnsembleManifest,
    Folder,
    MemberEntry,
    folder_of,
    write_ensemble,
)
from lib.predict.judge import judge
from lib.predict.loading import batches_of, open_loaders
from lib.predict.measure import Table, collect, measure_costs
from lib.predict.member import Prepared
from lib.predict.planning import EnsemblePlan
from lib.report.ensemble import ensemble_card
from lib.report.html import write_report
from lib.report.run import build_report


def build_ensemble(plan: EnsemblePlan) -> dict[str, Any]:
    """Measure, fit and write; return what was measured.

    Raises `UserError` if greedy selection leaves one member, or the folder cannot be written.
    """
    config = plan.config
    bundles = plan.bundles
    make_engine = partial(
        choose_engine, wanted=Wanted("torch", "fp32", device=local_device(config.run.use_gpu))
    )
    together = Ensemble(folder_of(bundles, plan.folder, plan.dataset.classes), make_engine)
    with ExitStack() as stack:
        samples = plan.dataset.samples(config.split)
        stack.callback(samples.close)
        table, costs = _measure(plan, together, samples, stack)
        seen = np.arange(len(table.ids)) % 2 == 0
        learn, held = take(table, np.flatnonzero(seen)), take(table, np.flatnonzero(~seen))
        fit = fit_ensemble(learn, costs, config)
        if len(fit.members) == 1:
            best = bundles[fit.members[0]]
            hint = "serve it alone, or leave out select=greedy"
            raise UserError(f"select=greedy keeps {best.path} alone: no other member helps it", hint)
        measured = judge(fit, learn, held, config, [bundle.arch for bundle in bundles])
        answers = Outcomes.from_probabilities(held.ids, held.labels, fit.answers(held))
        metrics = summarise(answers, len(plan.dataset.classes))
        measured["ensemble"] |= {"answers": metrics}
        report = build_report(
            f"{plan.folder.name}: {len(fit.members)} members",
            plan.dataset.classes,
            {f"{config.split}, held out": metrics},
            answers,
            samples,
            summary={
                "members": ", ".join(bundles[each].arch for each in fit.members),
                "combine": config.combine,
                "views": fit.views,
                "dataset": plan.dataset.where,
            },
            ensemble=measured,
            next_steps=[f"python -m serving bundle={plan.folder}"],
        )
        data = samples.read(int(held.ids[0]))
    baseline = baseline_of(answers, f"{config.split}, held out", len(plan.dataset.classes))
    entries, manifest = _manifest(plan, fit, measured)
    kept = [bundles[each] for each in fit.members]
    # What all members together answer, without the cascade: it does not hang on a threshold.
    alone = Ensemble(Folder(plan.folder, manifest.model_copy(update={"members": entries}), tuple(kept), ""))
    golden = Golden(data, alone.run([Prepared(data, config.data.max_pixels)], cascade=False).probabilities[0])
    content = EnsembleContent(
        bundles=kept,
        members=entries,
        manifest=manifest.model_copy(update={"baseline": baseline}),
        golden=golden,
        config_yaml=to_yaml(config),
        card=ensemble_card(plan.folder.name, measured, plan.dataset.classes, str(plan.folder)),
        write_report=lambda folder: write_report(folder, report),
    )
    write_ensemble(plan.folder, content)
    return measured


def _measure(
    plan: EnsemblePlan, together: Ensemble, samples: Samples, stack: ExitStack
) -> tuple[Table, list[float]]:
    """Ask every member about every image, and measure how long each takes."""
    config = plan.config
    quarantine = Quarantine({config.split: len(samples)}, config.data.max_bad_fraction)
    loaders = open_loaders(
        samples, together.kinds, config.data, threads=torch.get_num_threads(), quarantine=quarantine
    )
    for loader in loaders.values():
        stack.callback(loader.close)
    few = next(iter(batches_of(loaders, plan_batches(min(8, len(samples)), 8, rank=0, world_size=1))))
    costs = measure_costs(together.members, few.pixels)
    views = list(dict.fromkeys(name for each in config.view_sets for name in VIEWS[each]))
    table = collect(
        together.members, loaders, views=views, num_samples=len(samples), batch_size=config.batch_size
    )
    return table, costs


def _manifest(
    plan: EnsemblePlan, fit: Fit, measured: dict[str, Any]
) -> tuple[list[MemberEntry], EnsembleManifest]:
    config = plan.config
    entries = [
        MemberEntry(
            path=str(plan.bundles[each].path),
            sha256="",
            weight=float(fit.weights[each]),
            cost=fit.costs[each],
            temperature=fit.temperatures[each],
        )
        for each in fit.members
    ]
    cascade = None
    if fit.cascade is not None:
        assert config.cascade.max_accuracy_drop is not None
        cascade = CascadeEntry(
            order=[fit.members.index(member) for member, _ in fit.cascade.stages],
            views=[views for _, views in fit.cascade.stages],
            thresholds=list(fit.cascade.thresholds),
            temperatures=list(fit.cascade.temperatures),
            max_accuracy_drop=config.cascade.max_accuracy_drop,
            expected_mean_members=measured["cascade"]["mean_members"],
            expected_cost=measured["cascade"]["cost"],
        )
    return entries, EnsembleManifest(
        classes=plan.dataset.classes,
        members=[],
        combine=config.combine,
        vote=config.vote if config.combine == "vote" else None,
        views=fit.views,
        allowed_views=list(config.view_sets),
        temperature=fit.temperature,
        cascade=cascade,
        measured=measured,
        dataset={"digest": plan.dataset.manifest.digest, "source": plan.dataset.manifest.source},
    )
