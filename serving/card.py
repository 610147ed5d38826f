"""What `GET /model` says of a bundle or an ensemble.

card = card_of(read_folder(path), ModelName(name="pets", version="3f9c2a71d0be"))
"""

from lib.predict.folder import Folder
from serving.schemas import Cascade, ModelCard, ModelMember, ModelName, Preprocessing


def card_of(folder: Folder, name: ModelName) -> ModelCard:
    """Describe a model that is served under a name."""
    manifest = folder.manifest
    fitted = manifest.cascade
    weights = sum(entry.weight for entry in manifest.members)
    return ModelCard(
        name=name.name,
        version=name.version,
        members=[
            ModelMember(
                arch=bundle.arch,
                version=bundle.version,
                weight=entry.weight / weights,
                preprocessing=Preprocessing.model_validate(bundle.preprocess.to_dict()),
            )
            for bundle, entry in zip(folder.bundles, manifest.members, strict=True)
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
    )
