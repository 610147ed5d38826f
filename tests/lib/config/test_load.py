"""The words of a command line become a configuration, or one line for each mistake."""

from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lib.config.load import Answer, load, to_yaml
from lib.config.schema import FinetuneConfig
from lib.errors import UserError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class Data(Section):
    root: str = Field(examples=["runs/digits"])
    folder: Path = Path("cache")
    labels: list[str] = []
    mean: tuple[float, ...] = (0.5,)


class Network(Section):
    name: str = "resnet18"
    image_size: int | None = Field(default=None, ge=1)
    channels: Literal["auto", 1, 3] = "auto"
    options: dict[str, int | str] = {}


class Optim(Section):
    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    warm: bool = False


class Gate(Section):
    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.9


class Run(Section):
    name: str | None = None
    num_workers: Annotated[int, Field(ge=0)] | tuple[int, int] | Literal["auto"] = "auto"
    seed: int = 0


class Config(Section):
    """Everything."""

    data: Data
    model: Network = Network()
    optim: Optim = Optim(lr=0.5)
    gate: Gate | None = None
    run: Run = Run()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.optim.name == "sgd" and self.optim.lr > 10:
            raise ValueError("optim.lr is too large for sgd")
        return self


class Member(Section):
    path: str
    weight: float = 1.0


class Ensemble(Section):
    members: list[Member] = []
    search: dict[str, dict[str, float]] = {}
    named: dict[str, Member] = {}


def config(*words: str) -> Config:
    return load(Config, ["data.root=d", *words]).config


def mistakes(*words: str, model: type[BaseModel] = Config) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(model, words)
    problem, *lines = str(caught.value).split("\n")
    if lines:
        assert problem == f"{len(lines)} mistakes in the configuration"
    return lines or [problem]


def mistake(*words: str) -> str:
    (line,) = mistakes("data.root=d", *words)
    return line


def test_words_merge_left_to_right(tmp_path: Path) -> None:
    preset = tmp_path / "small.yaml"
    preset.write_text(
        "optim: {lr: 0.1, name: sgd}\nrun.seed: 7\nmodel.options: {a: 1, b: 2}\ndata.labels: [x, y]\n"
    )
    found = config("optim.lr=3", "optim.warm=true", str(preset), "model.options.b=3", "data.labels=[z]")
    assert (found.optim.lr, found.optim.name, found.optim.warm, found.run.seed) == (0.1, "sgd", True, 7)
    assert found.model.options == {"a": 1, "b": 3}
    assert found.data.labels == ["z"]
    assert config(str(preset), "optim.lr=9").optim.lr == 9


def test_setting_one_key_of_a_section_keeps_the_defaults_it_was_given() -> None:
    assert config().optim.lr == config("optim.warm=true").optim.lr == 0.5


def test_an_empty_section_changes_nothing(tmp_path: Path) -> None:
    preset = tmp_path / "empty.yml"
    preset.write_text("optim:\n  # lr: 1\nrun:\n")
    assert config("optim.lr=2", str(preset)).optim.lr == 2
    (tmp_path / "nothing.yml").write_text("# only a comment\n")
    assert config(str(tmp_path / "nothing.yml")) == config()


def test_an_optional_section_can_be_set_and_unset() -> None:
    assert config("gate={}").gate == Gate()
    assert config("gate.min_accuracy=0.5", "gate=null").gate is None
    assert config("gate=null", "gate.min_accuracy=0.5").gate == Gate(min_accuracy=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "123",
        "1e3",
        "007",
        "2026-11-24",
        "1:30",
        "1_0",
        "true",
        "yes",
        "0x1F",
        "1.50",
        "+1",
        "v=1",
        "a # b",
        "*.tar",
        "@x",
        "-",
    ],
)
def test_a_text_field_gets_what_was_typed(text: str) -> None:
    assert config(f"run.name={text}").run.name == text
    assert config(f"data.labels=['{text}', b]").data.labels == [text, "b"]
    assert config(f"model.name={text}").model.name == text
    assert config(f"data.folder={text}").data.folder == Path(text)


def test_items_of_a_list_of_text_are_what_was_typed(tmp_path: Path) -> None:
    preset = tmp_path / "labels.yaml"
    preset.write_text("data:\n  labels: [007, 1e3, yes, true]\n  root: 12\n")
    assert config("data.root=x", str(preset)).data.labels == ["007", "1e3", "yes", "true"]
    assert config(str(preset)).data.root == "12"


def test_values_are_yaml() -> None:
    assert config("run.name=").run.name is None
    assert config("run.name=~").run.name is None
    assert config("run.name='null'").run.name == "null"
    assert config("optim.lr=1e-3").optim.lr == 0.001
    assert config("optim.lr=.5").optim.lr == 0.5
    assert config("run.seed=1e3").run.seed == 1000
    assert config("run.num_workers=[1, 2]").run.num_workers == (1, 2)
    assert config("run.num_workers=4").run.num_workers == 4
    assert config("model.channels=3").model.channels == 3
    assert config("data.mean=[0.5, 1, 0.25]").data.mean == (0.5, 1.0, 0.25)
    assert config("model.options={a: 1, b: x}").model.options == {"a": 1, "b": "x"}
    assert config("data={root: e, labels: [b]}").data == Data(root="e", labels=["b"])


@pytest.mark.parametrize(
    "text", ["1_0", "010", "1:30", "0x1F", "'5'", "true", "five", "1.5", "9" * 5000, "1e999"]
)
def test_what_looks_only_nearly_like_a_whole_number_is_refused(text: str) -> None:
    assert mistake(f"run.seed={text}").endswith("must be a whole number")


@pytest.mark.parametrize("text", ["yes", "on", "1", "0", "'true'"])
def test_only_true_and_false_are_booleans(text: str) -> None:
    assert mistake(f"optim.warm={text}") == f"optim.warm={text}: must be true or false"


def test_rows_of_lists_and_tables(tmp_path: Path) -> None:
    preset = tmp_path / "ensemble.yaml"
    preset.write_text("members:\n- path: 007\n- {path: b, weight: 2}\nsearch:\n  optim.lr: {low: 1e-4}\n")
    found = load(
        Ensemble, [str(preset), "search.optim.lr={low: 1}", "search.run.seed.x={a: 1}", "named.n.path=1"]
    ).config
    assert found.members == [Member(path="007"), Member(path="b", weight=2)]
    assert found.search == {"optim.lr": {"low": 1.0}, "run.seed.x": {"a": 1.0}}
    assert found.named == {"n": Member(path="1")}
    assert mistakes("members=[{path: a, wieght: 1}, {weight: x}]", model=Ensemble) == [
        "members.0.wieght: no such key; did you mean weight?",
        "members.1.path: required",
        "members.1.weight=x: must be a number",
    ]


def test_a_table_may_have_an_alternative() -> None:
    word = "data.root=x"
    merged = load(
        FinetuneConfig, [word, "train.class_weights={a: 1, b: 2}", "train.class_weights.b=3"]
    ).config
    assert merged.train.class_weights == {"a": 1.0, "b": 3.0}
    assert load(FinetuneConfig, [word, "train.class_weights.007=3"]).config.train.class_weights == {
        "007": 3.0
    }
    replaced = load(FinetuneConfig, [word, "train.class_weights.b=3", "train.class_weights=auto"]).config
    assert replaced.train.class_weights == "auto"
    assert mistakes(word, "train.class_weights=all", model=FinetuneConfig) == [
        "train.class_weights=all: must be one of none, auto or a mapping"
    ]


def test_every_mistake_is_one_line(tmp_path: Path) -> None:
    preset = tmp_path / "wrong.yaml"
    preset.write_text("optim:\n  layer_decay: 2\n  lrate: 1\nmodel: {name: [1]}\n")
    assert mistakes(
        str(preset), "lr=0.1", "model=resnet18", "optim.name=adan", "optim.lr=-1", "nonsense", "--dryrun"
    ) == [
        f"optim.lrate=1: no such key; optim has name, lr, layer_decay and warm ({preset} line 3)",
        "lr=0.1: no such key; did you mean optim.lr?",
        "model=resnet18: model is a section; did you mean model.name=resnet18?",
        "nonsense: neither a preset (.yaml) nor key=value",
        "--dryrun: no such flag; did you mean --dry-run?",
        "data.root: required; for example data.root=runs/digits",
        f"model.name=[1]: must be text ({preset} line 4)",
        "optim.name=adan: must be one of sgd, adam, adamw; did you mean optim.name=adam?",
        "optim.lr=-1: must be a number greater than 0",
        f"optim.layer_decay=2: must be a number greater than 0 and at most 1 ({preset} line 2)",
    ]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("optim.lrr=1", "optim.lrr=1: no such key; did you mean optim.lr?"),
        ("optim.layer-decay=1", "optim.layer-decay=1: no such key; did you mean optim.layer_decay?"),
        ("optin.lr=1", "optin.lr=1: no such key; did you mean optim.lr?"),
        ("layer_decy=1", "layer_decy=1: no such key; did you mean optim.layer_decay?"),
        ("optim.zzz=1", "optim.zzz=1: no such key; optim has name, lr, layer_decay and warm"),
        ("zzz=1", "zzz=1: no such key"),
        ("name=a", "name=a: no such key; did you mean run.name, optim.name or model.name?"),
        ("optim.lr.x=1", "optim.lr.x=1: optim.lr is a single value without keys of its own"),
        ("optim=1", "optim=1: optim is a section; it has name, lr, layer_decay and warm"),
        ("optim=[1]", "optim: optim is a section; it has name, lr, layer_decay and warm"),
        ("data=x/y", "data=x/y: data is a section; did you mean data.root=x/y?"),
        ("optim.lr=", "optim.lr=null: must be a number greater than 0"),
        ("optim.lr", "optim.lr: a key without a value; write optim.lr=VALUE, without spaces"),
        ("=", "=: a value without a key; write key=value, without spaces"),
        ("", "'': neither a preset (.yaml) nor key=value"),
        ("--optim.lr=1", "--optim.lr=1: no such flag; write optim.lr=1"),
        ("--optim.lr", "--optim.lr: no such flag; write optim.lr=VALUE"),
        ("-x", "-x: no such flag"),
        ("model.channels=2", "model.channels=2: must be one of auto, 1, 3"),
        ("model.image_size=0", "model.image_size=0: must be a whole number of at least 1 or null"),
        ("model.options={a: [1]}", "model.options.a=[1]: must be a whole number or text"),
        ("data.labels=a", "data.labels=a: must be a list, each text; write data.labels=[a]"),
        ("data.labels=[a, [b]]", "data.labels.1=[b]: must be text"),
        (
            "run.num_workers=two",
            "run.num_workers=two: must be auto, a whole number of at least 0 "
            "or [a whole number, a whole number]",
        ),
        ("gate.min_accuracy=2", "gate.min_accuracy=2: must be a number of at least 0 and at most 1"),
        ("nope.yaml", "nope.yaml: no such preset"),
        ("x\0y/nope.yaml", "x\\x00y/nope.yaml: no such preset"),
        ("x" * 5000 + ".yaml", "x" * 5000 + ".yaml: no such preset"),
        ("a/b=c.yaml", "a/b=c.yaml: no such preset"),
        (
            "data.labels=[a",
            "data.labels=[a: not valid YAML: expected ',' or ']', but got 'stream end'; "
            "quote it to mean text: 'data.labels=\"…\"'",
        ),
        (
            "run.name=[!x a]",
            "run.name=[!x a]: not valid YAML: a tag (!) is not read here; quote text; "
            "quote it to mean text: 'run.name=\"…\"'",
        ),
        ("run.name=\udc80", "run.name=?: not UTF-8 text"),
    ],
)
def test_a_mistake_says_what_to_type(word: str, line: str) -> None:
    assert mistake(word) == line


def test_a_rule_between_keys_speaks_for_itself() -> None:
    assert mistake("optim.name=sgd", "optim.lr=11") == "optim.lr is too large for sgd"


def test_a_misspelt_required_key_is_one_mistake() -> None:
    assert mistakes("data.rot=x") == ["data.rot=x: no such key; did you mean data.root?"]


def test_a_later_word_mends_a_bad_value() -> None:
    assert config("optim.lr=-1", "optim.lr=1").optim.lr == 1


def test_presets_that_cannot_be_used(tmp_path: Path) -> None:
    def line(text: bytes) -> str:
        (tmp_path / "p.yaml").write_bytes(text)
        return mistake(str(tmp_path / "p.yaml")).removeprefix(f"{tmp_path}/")

    assert line(b"- a\n") == "p.yaml: must hold `key: value` lines, not a list"
    assert line(b"hello\n") == "p.yaml: must hold `key: value` lines, not a single value"
    assert line(b"run:\n  seed: 1\n  seed: 2\n") == (
        "p.yaml line 3: not valid YAML: seed stands here a second time (first in line 2)"
    )
    assert (
        line(b"run: {seed: 1}\nrun.seed: 2\n")
        == f"run.seed=2: set a second time (first in line 1) ({tmp_path}/p.yaml line 2)"
    )
    assert line(b"run:\n\tseed: 1\n") == "p.yaml line 2: not valid YAML: a tab; indent with spaces"
    assert line(b"\xff\xfe") == "p.yaml: not UTF-8 text"
    assert line(b"a: \x01") == "p.yaml: not valid YAML: it holds a control character"
    assert line(b"#" * 1_000_001) == "p.yaml: larger than 1 MB, so hardly a configuration"
    assert line(b"run: {seed: 1}\n---\na: 1\n").endswith("not valid YAML: a second document (---)")
    (tmp_path / "folder.yaml").mkdir()
    assert mistake(str(tmp_path / "folder.yaml")).endswith("cannot be read: is a directory")


def test_a_preset_is_found_beside_the_installed_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    (installed / "jobs/presets").mkdir(parents=True)
    elsewhere.mkdir()
    (installed / "jobs/presets/digits.yaml").write_text("run.seed: 5\n")
    monkeypatch.setattr("lib.config.words.INSTALLED", installed)
    monkeypatch.chdir(elsewhere)
    assert config("jobs/presets/digits.yaml").run.seed == 5
    assert mistake("digits").endswith("did you mean jobs/presets/digits.yaml?")
    assert mistake("jobs/presets/digit.yaml").endswith(
        "no such preset; did you mean jobs/presets/digits.yaml?"
    )
    (elsewhere / "jobs/presets").mkdir(parents=True)
    (elsewhere / "jobs/presets/digits.yaml").write_text("run.seed: 6\n")
    assert config("jobs/presets/digits.yaml").run.seed == 6


def test_flags(capsys: pytest.CaptureFixture[str]) -> None:
    flags: dict[str, str | Answer] = {
        "--force": "Go.",
        "--list-models": Answer("List them.", lambda words: f"lenet5 {words}"),
    }
    loaded = load(Config, ["--force", "data.root=d", "--dry-run"], flags=flags)
    assert (loaded.flags, loaded.dry_run) == ({"--force"}, True)
    assert not load(Config, ["data.root=d"], flags=flags).dry_run
    with pytest.raises(SystemExit) as ended:
        load(Config, ["--list-models", "resnet*"], flags=flags)
    assert ended.value.code == 0
    assert capsys.readouterr().out == "lenet5 ['resnet*']\n"


def test_nothing_of_pydantic_shows() -> None:
    text = "\n".join(
        mistakes("optim.lr=x", "run.num_workers=x", "model.channels=x", "data.labels=x", "gate=1")
    )
    assert not any(word in text for word in ("pydantic", "http", "Input should", "type=", "literal"))


def test_a_stored_configuration_loads_to_the_same(tmp_path: Path) -> None:
    first = config(
        "run.name=007", "gate={}", "run.num_workers=[1, 2]", "model.options={'a.b': '1', yes: 2, '': x}"
    )
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    assert load(Config, [str(tmp_path / "config.yaml")]).config == first


KEYS = st.sampled_from(
    [
        "data.root",
        "data",
        "optim",
        "gate",
        "model.options",
        "model.options.a.b",
        "run.num_workers",
        "data.mean",
        "lr",
    ]
) | st.text(max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(KEYS, st.sampled_from(["=", "=", "=[", "={", ":"]), st.text(max_size=8)).map("".join))
)
def test_no_word_ends_in_anything_but_lines(words: list[str]) -> None:
    try:
        load(Config, [word for word in words if word not in ("-h", "--help")])
    except UserError as error:
        count, lines = error.problem.partition(" ")[0], error.hint.splitlines()
    else:
        return
    assert all(line.isprintable() for line in [*lines, count])
    assert not lines or len(lines) == int(count) == len(set(lines))
