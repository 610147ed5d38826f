"""Jobs: what the driver is told is what lib.config takes, and a run that ended is never touched."""

import re
import shlex
from typing import Any

import pytest

from helm.values.jobs import KINDS
from lib.config.load import load
from tests.helm.charts import ROOT, Charts, Object, only, profiles
from tests.helm.kubernetes import bad_name

DIGITS: Object = {"finetune": {"run": {"name": "digits", "num_workers": [1, 2]}, "optim": {"lr": 0.003}}}


def runs(found: list[Object]) -> list[Object]:
    return [each for each in found if each["kind"] in ("RayJob", "RayCronJob")]


def spec_of(run: Object) -> Object:
    return run["spec"]["jobTemplate"] if run["kind"] == "RayCronJob" else run["spec"]


def loaded(run: Object, found: list[Object], folder: Any) -> Any:
    """What the job script would read: its entrypoint, with the file of its ConfigMap."""
    python, script, *words = shlex.split(spec_of(run)["entrypoint"])
    assert python == "python"
    assert (ROOT / script).is_file()
    kind = script.removeprefix("jobs/").removesuffix(".py")
    if "/etc/manta/job.yaml" in words:
        head = spec_of(run)["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        (volume,) = [each for each in head["volumes"] if "configMap" in each]
        (mount,) = [m for m in head["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
        assert mount["mountPath"] == "/etc/manta"
        names = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
        file = folder / f"{volume['configMap']['name']}.yaml"
        file.write_text(names[volume["configMap"]["name"]]["data"]["job.yaml"])
        words = [str(file) if word == "/etc/manta/job.yaml" else word for word in words]
    words = [str(ROOT / word) if word.startswith("jobs/presets/") else word for word in words]
    return load(KINDS[kind], words).config


@pytest.mark.parametrize("profile", profiles("manta-jobs"))
def test_every_job_of_every_profile_is_what_the_models_take(
    charts: Charts, profile: str, tmp_path: Any
) -> None:
    found = charts.render("manta-jobs", profiles("manta-jobs")[profile])
    assert runs(found)
    for run in runs(found):
        assert loaded(run, found, tmp_path)


def test_there_is_a_script_for_every_kind() -> None:
    for kind in KINDS:
        assert (ROOT / f"jobs/{kind}.py").is_file()


def test_values_arrive_as_they_were_given(charts: Charts, tmp_path: Any) -> None:
    words = {
        "finetune": {
            "data": {
                "root": '/data/it\'s "here" $HOME `x`',
                "class_weights": {"a b": 2},
                "sampling": "weighted",
            },
            "run": {"name": "007", "seed": 4294967295, "num_workers": [2, 8]},
            "optim": {"lr": 1e-5},
            "train": {"batch_size": 1048576},
        }
    }
    found = charts.render("manta-jobs", {"jobs": {"x": {"job": words}}})
    config = loaded(only(found, "RayJob"), found, tmp_path)
    assert config.data.root == words["finetune"]["data"]["root"]
    assert config.data.class_weights == {"a b": 2}
    assert (config.run.name, config.run.seed, config.run.num_workers) == ("007", 4294967295, (2, 8))
    assert (config.optim.lr, config.train.batch_size) == (1e-5, 1048576)


def test_null_arrives_as_null(charts: Charts, tmp_path: Any) -> None:
    words = {
        "ensemble": {"members": ["a", "b"], "data": {"root": "x"}, "cascade": {"max_accuracy_drop": None}}
    }
    for more in ({}, {"clusterSelector": {"ray.io/cluster": "there"}}):
        found = charts.render("manta-jobs", {"jobs": {"x": {"job": words, **more}}})
        config = loaded(only(found, "RayJob"), found, tmp_path)
        assert config.cascade.max_accuracy_drop is None
        assert config.members == ["a", "b"]


def test_a_cluster_that_runs_takes_words_that_no_shell_touches(charts: Charts, tmp_path: Any) -> None:
    selector = {"ray.io/cluster": "there"}
    found = charts.render("manta-jobs", {"jobs": {"x": {"job": DIGITS, "clusterSelector": selector}}})
    run = only(found, "RayJob")
    assert "rayClusterSpec" not in run["spec"]
    assert run["spec"]["clusterSelector"] == selector
    entrypoint = run["spec"]["entrypoint"]
    assert entrypoint == "python jobs/finetune.py optim.lr=0.003 run.name=digits run.num_workers=[1,2]"
    assert re.fullmatch(r"[A-Za-z0-9_.,:/=@%+\[\] -]+", entrypoint)


@pytest.mark.parametrize(
    "text", ["it's", "a b", "$HOME", "`id`", "a;b", "a&b", '"', "\\", "*", "{1..2}", "~"]
)
def test_words_that_a_shell_would_touch_are_refused_there(charts: Charts, text: str) -> None:
    job = {"job": {"pack": {"source": text}}, "clusterSelector": {"ray.io/cluster": "there"}}
    with pytest.raises(Exception, match=r"jobs.x.job.pack.source=.*words pass through shells"):
        charts.render("manta-jobs", {"jobs": {"x": job}})


def names(charts: Charts, given: Object) -> dict[str, str]:
    """Name of the run of each job."""
    prefix = "job-"
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"].removeprefix(prefix): each["metadata"][
            "name"
        ]
        for each in runs(charts.render("manta-jobs", given))
    }


def test_a_changed_job_is_a_new_run_and_no_other_is(charts: Charts) -> None:
    first: Object = {"jobs": {"a": {"job": DIGITS}, "b": {"job": {"pack": {"source": "digits", "out": "x"}}}}}
    before = names(charts, first)
    changes: list[Object] = [
        {"job": {"finetune": {"run": {"name": "other"}}}},
        {"job": DIGITS, "presets": ["jobs/presets/digits.yaml"]},
        {"job": DIGITS, "backoffLimit": 1},
        {"job": DIGITS, "workers": {"big": {"replicas": 3}}},
    ]
    seen = {before["a"]}
    for change in changes:
        after = names(charts, {"jobs": first["jobs"] | {"a": change}})
        assert after["b"] == before["b"]
        seen.add(after["a"])
    assert len(seen) == len(changes) + 1
    # What is the same for all jobs makes new runs of all of them.
    everywhere = names(charts, first | {"image": {"tag": "next"}})
    assert not set(everywhere.values()) & set(before.values())
    assert names(charts, first) == before


def test_a_run_says_nothing_about_the_version_of_the_chart(charts: Charts) -> None:
    found = charts.render("manta-jobs", {"jobs": {"a": {"job": DIGITS}}})
    for each in found:
        if each["kind"] in ("RayJob", "ConfigMap"):
            assert not [key for key in each["metadata"]["labels"] if "chart" in key or "version" in key]
    (config,) = [each for each in found if each["kind"] == "ConfigMap"]
    assert config["immutable"] is True
    assert config["metadata"]["name"] == only(found, "RayJob")["metadata"]["name"]


def test_names_of_many_long_jobs_fit_and_differ(charts: Charts) -> None:
    jobs = {f"{'job' * 9}-{end}": {"job": DIGITS} for end in "abc"}
    cron = {f"{'cron' * 6}-{end}": {"job": DIGITS, "schedule": "@daily"} for end in "abc"}
    found = runs(charts.render("manta-jobs", {"jobs": jobs | cron}, name="r" * 53))
    assert [bad for each in found if (bad := bad_name(each))] == []
    assert len({each["metadata"]["name"] for each in found}) == 6


def test_runs_are_kept_if_wanted(charts: Charts) -> None:
    given: Object = {"jobs": {"a": {"job": DIGITS}}, "keepRuns": True}
    annotations = only(charts.render("manta-jobs", given), "RayJob")["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}


def test_a_schedule_is_suspended_itself_and_not_its_jobs(charts: Charts) -> None:
    given: Object = {"jobs": {"a": {"job": DIGITS, "schedule": "@daily", "suspend": True}}}
    run = only(charts.render("manta-jobs", given), "RayCronJob")
    assert run["spec"]["suspend"] is True
    assert "suspend" not in run["spec"]["jobTemplate"]


def test_head_and_workers_of_one_job(charts: Charts) -> None:
    job = {
        "job": DIGITS,
        "head": {"resources": {"memory": "32Gi"}},
        "workers": {"gpu": {"resources": {"gpu": 2}}},
    }
    spec = only(charts.render("manta-jobs", {"jobs": {"a": job}}), "RayJob")["spec"]["rayClusterSpec"]
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert head == {"cpu": "2", "memory": "32Gi"}
    assert [group["groupName"] for group in spec["workerGroupSpecs"]] == ["gpu"]
    worker = spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert worker == {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "2"}


def test_a_job_without_words_has_no_file(charts: Charts) -> None:
    job = {"job": {"finetune": {}}, "presets": ["jobs/presets/digits.yaml"]}
    found = charts.render("manta-jobs", {"jobs": {"a": job}})
    assert only(found, "RayJob")["spec"]["entrypoint"] == "python jobs/finetune.py jobs/presets/digits.yaml"
    assert not [each for each in found if each["kind"] == "ConfigMap"]
