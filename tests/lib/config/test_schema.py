from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from lib.config import schema
from lib.config.exporting import ExportConfig
from lib.config.fields import keys
from lib.config.names import FREEZE_STRATEGIES
from lib.config.packing import PackConfig
from lib.config.predicting import PredictConfig
from lib.config.quantizing import QuantizeConfig
from lib.config.schema import EvaluateConfig, FinetuneConfig
from lib.config.serving import ServeConfig
from lib.config.training import Freeze

CONTRACT = {
    PackConfig: "source out resize shard_size_mb split.val split.test seed",
    FinetuneConfig: "data.root model.name model.weights model.image_size train.epochs train.batch_size "
    "train.freeze train.precision optim.name optim.lr optim.schedule optim.layer_decay augment.policy "
    "augment.mix run.name run.storage run.num_workers run.use_gpu run.resume run.seed",
    EvaluateConfig: "bundle data.root split out gate.min_accuracy gate.max_latency_ms gate.max_size_mb "
    "gate.max_ece gate.min_class_recall gate.max_regression_vs",
    PredictConfig: "bundle input out",
    ExportConfig: "bundle formats out",
    QuantizeConfig: "bundle data.root split calibration_images max_accuracy_drop out",
    ServeConfig: "bundle http.host http.port",
}


@pytest.mark.parametrize("model", CONTRACT)
def test_the_keys_of_the_contract_exist(model: type[BaseModel]) -> None:
    assert set(CONTRACT[model].split()) <= set(keys(model))


@pytest.mark.parametrize("model", CONTRACT)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert not [key for key, field in keys(model).items() if not field.description]


def test_freeze_strategies_are_those_of_the_models() -> None:
    assert get_args(Freeze) == FREEZE_STRATEGIES


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"batch_size": 2}, "run": {"num_workers": 4}}, "each worker needs an image per step"),
        ({"data": {"root": "x", "sampling": "weighted"}}, "needs data.class_weights"),
        ({"data": {"root": "x", "class_weights": {"cat": 2}}}, "no effect without data.sampling=weighted"),
        ({"data": {"root": "s3://b/x", "source": "digits"}}, "data.root is a URI; leave one out"),
        ({"train": {"focal_gamma": 1.0}}, "train.focal_gamma has no effect without train.loss=focal"),
        ({"train": {"teacher_weight": 0.9}}, "no effect without train.teacher=BUNDLE"),
        (
            {"train": {"teacher": "b", "teacher_weight": 1, "label_smoothing": 0.1}},
            "train.teacher_weight=1 leaves nothing to the labels",
        ),
        (
            {"data": {"root": "x", "sampling": "class_balanced"}, "train": {"class_weights": "auto"}},
            "data.sampling=class_balanced changes how often they come; choose one",
        ),
        ({"train": {"compile": True, "checkpoint_activations": True}}, "leave out train.checkpoint_activ"),
        ({"optim": {"momentum": 0.8}}, "optim.momentum has no effect with optim.name=adamw"),
        (
            {"train": {"batch_size": 8, "accumulate": 3}, "run": {"num_workers": 4}},
            "train.accumulate=3 is more than the 2 images",
        ),
        ({"optim": {"layer_factors": [0.1, 1], "head_lr": 1}}, "replaces optim.head_lr=1; leave one out"),
        ({"optim": {"layer_factors": [0.1, 1], "layer_decay": 0.5}}, "replaces optim.layer_decay=0.5"),
        ({"optim": {"head_lr": 0.1}, "train": {"freeze": "head"}}, "head_lr=0.1 has no effect with"),
        ({"optim": {"layer_decay": 0.9}, "train": {"freeze": "head"}}, "the head learns at optim.lr"),
        ({"optim": {"layer_factors": [1, 2]}, "train": {"freeze": "head"}}, "layer_factors has no effect"),
        ({"run": {"name": "../up"}}, "cannot name a folder"),
        ({"run": {"name": ".hidden"}}, "cannot name a folder"),
        ({"run": {"num_workers": [4, 2]}}, r"did you mean \[2, 4\]"),
        ({"train": {"batch_size": 2}, "run": {"num_workers": [1, 4]}}, "less than run.num_workers=4"),
        ({"train": {"sync_batchnorm": True}, "run": {"num_workers": 0}}, "no effect with run.num_workers=0"),
        ({"train": {"shard": "full"}, "run": {"num_workers": 1}}, "no effect with run.num_workers=1"),
        ({"train": {"shard": "full", "sync_batchnorm": True}}, "does not go with train.sync_batchnorm"),
        ({"train": {"shard": "full", "compile": True}}, "does not go with train.compile"),
        ({"train": {"shard": "full"}, "optim": {"name": "muon"}}, "leaves each worker some rows"),
        ({"run": {"deterministic": True}}, "needs a number"),
        ({"run": {"deterministic": True, "num_workers": [1, 2]}}, "needs a number"),
        ({"run": {"deterministic": True, "num_workers": 2}}, "needs train.checkpoint_every_s=0"),
        ({"track": {"mlflow": "mlruns"}}, "neither a server"),
        ({"track": {"mlflow": "https://me:secret@host"}}, "MLFLOW_TRACKING_PASSWORD"),
        ({"track": {"mlflow": "sqlite:///x.db"}}, "four slashes"),
        ({"track": {"wandb": "a/b/c"}}, "names no project"),
        ({"track": {"prometheus": "metrics"}}, "neither a folder"),
        ({"track": {"prometheus": "ftp://host/x"}}, "neither a folder"),
        ({"track": {"prometheus": "https://me:secret@host:9091"}}, "a password would be kept"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        FinetuneConfig.model_validate({"data": {"root": "x"}, **changes})


def test_options_that_go_together_are_taken() -> None:
    train = {
        "loss": "focal",
        "focal_gamma": 1.0,
        "class_weights": {"cat": 2},
        "teacher": ["a", "b"],
        "teacher_weight": 1e-3,
        "accumulate": 2,
    }
    optim = {"name": "muon", "momentum": 0.95}
    config = FinetuneConfig.model_validate({"data": {"root": "x"}, "train": train, "optim": optim})
    assert config.train.teachers == ["a", "b"]
    assert config.train.model_copy(update={"teacher": "c"}).teachers == ["c"]


def test_splits_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        PackConfig.model_validate({"source": "digits", "out": "x", "split": {"val": 0.5, "test": 0.5}})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": "shards:x", "resize": 64}, "resize cannot be used with source=shards:"),
        ({"source": "shards:x", "shard_size_mb": 1}, "shard_size_mb cannot be used with source=shards:"),
        ({"source": "digits", "shards": {"label": "txt"}}, "need source=shards:GLOB"),
        ({"source": "digits", "shards": {"classes": "x"}}, "need source=shards:GLOB"),
    ],
)
def test_options_that_a_source_cannot_honour(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        PackConfig.model_validate({"out": "x", **changes})


def test_configuration_needs_no_torch() -> None:
    import subprocess
    import sys

    modules = "lib.config.load, lib.config.schema, lib.config.serving"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert schema.FinetuneConfig.__doc__
