"""Pack labelled images into WebDataset shards with an index.

python jobs/pack.py source=imagefolder:photos out=runs/datasets/photos
python jobs/pack.py source=csv:labels.csv csv.label_column=species out=runs/datasets/birds resize=256
python jobs/pack.py source=shards:imagenet-train-{000000..000146}.tar out=runs/datasets/imagenet
"""

import sys

from lib.config.load import load, to_yaml
from lib.config.schema import PackConfig
from lib.console import block, run_job, say


def main() -> None:
    description = "Pack labelled images into WebDataset shards with an index."
    loaded = load(PackConfig, sys.argv[1:], prog="python jobs/pack.py", description=description)
    config = loaded.config

    # Only a real run waits for torch.
    from lib.data.pack import pack, plan_pack, runner

    plan = plan_pack(config)
    if loaded.dry_run:
        say(to_yaml(config))
    for line in plan.lines():
        say(line)
    if loaded.dry_run:
        return
    packed = pack(config, plan, runner(config, plan))
    rows = {
        "dataset": packed.root,
        "images": ", ".join(f"{name} {s.num_samples:,}" for name, s in packed.manifest.splits.items()),
        "next": f"python jobs/finetune.py data.root={packed.root}",
    }
    if packed.bad:
        left_out = (
            f"{len(packed.bad)} images that cannot be used, listed in {packed.root / 'quarantine.jsonl'}"
        )
        rows = {"left out": left_out, **rows}
    block("packed", rows)


if __name__ == "__main__":
    run_job(main)
