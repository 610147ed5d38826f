"""What `GET /model` says of a bundle or an ensemble.

card = card_of(Ensemble.load(path), ModelName(name="pets", version="3f9c2a71d0be"))
"""

from lib.bundle import GateFacts
from lib.predict.ensemble import Ensemble
from serving.schemas import (
    Cascade,
    GateCheck,
    ModelCard,
    ModelMember,
    ModelName,
    PassedGate,
    Preprocessing,
    Validated,
)


def card_of(ensemble: Ensemble, name: ModelName) -> ModelCard:
    """Describe a model that is served under a name."""
    folder, manifest = ensemble.folder, ensemble.folder.manifest
    fitted = manifest.cascade
    weights = sum(entry.weight for entry in manifest.members)
    return ModelCard(
        name=name.name,
        version=name.version,
        members=[
            ModelMember(
                arch=member.bundle.arch,
                version=member.bundle.version,
                weight=entry.weight / weights,
                engine=member.engine.name,
                precision=member.engine.precision,
                preprocessing=Preprocessing.model_validate(member.spec.to_dict()),
            )
            for member, entry in zip(ensemble.members, manifest.members, strict=True)
        ],
        classes=list(folder.classes),
        preprocessing=Preprocessing.model_validate(folder.preprocess.to_dict()),
        combine=manifest.combine,
        views=manifest.views,
        allowed_views=manifest.allowed_views,
        cascade=None
        if fitted is None
        else Cascade(
            order=fitted.order,
            views=fitted.views,
            thresholds=fitted.thresholds,
            expected_mean_members=fitted.expected_mean_members,
        ),
        baseline=None
        if (baseline := manifest.baseline) is None
        else Validated(split=baseline.split, num_samples=baseline.num_samples),
        gate=None if manifest.gate is None else _passed(manifest.gate),
    )


def _passed(gate: GateFacts) -> PassedGate:
    shown = [{key: check[key] for key in GateCheck.model_fields} for check in gate.checks]
    return PassedGate(
        split=gate.split, num_samples=gate.num_samples, checks=[GateCheck(**check) for check in shown]
    )
