"""Does the verdict tell a planted shortcut from none? Simulated trials, artefacts linked to a class or not.

python benchmarks/shortcut_verdicts.py <folder for trials and runs> <first seed> <last seed>

About 45 s of one core per trial. A trial or a run that is there is kept.
"""

import sys
from pathlib import Path

from grasp_ray.config import AuditConfig, load_config
from grasp_ray.on_ray.cluster import connected
from grasp_ray.pipeline.audit_specificity import audit_specificity
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.simulate import simulate
from grasp_ray.pipeline.train import train

CONFIG = Path(__file__).parents[1] / "conf/shortcut_simulated.yaml"
SHARES = ("lamp_share", "ruler_share", "device_share", "share_elsewhere")
KINDS = {"linked": [], "unlinked": [f"simulate.artefacts.{name}=0.2" for name in SHARES]}


def config_of(home: Path, kind: str, seed: int) -> AuditConfig:
    """The trial and run of one kind and seed."""
    name = f"{kind}_{seed}"
    overrides = [f"run.name={name}", f"run.root={home}/runs", f"trial.uri={home}/trials/{name}"]
    overrides += [f"simulate.seed={seed}", f"train.seed={seed}", "track.enabled=false"]
    return load_config(str(CONFIG), overrides + KINDS[kind])


def main(home: Path, first_seed: int, last_seed: int) -> None:
    """Print a line per trial: its kind, its seed, and the status of the finding on artefacts."""
    with connected(config_of(home, "linked", first_seed).cluster):
        for seed in range(first_seed, last_seed + 1):
            for kind in KINDS:
                config = config_of(home, kind, seed)
                for step in (simulate, train, audit_specificity):
                    step(config)
                verdict = RunFolder.of(config).storage.read_json("audits/verdict.json")
                finding = verdict["findings"][0]
                print(f"{kind:<9} seed {seed:>2}  {finding['status']:<9} {finding['sentence']}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]))
