"""The embedded default: EfficientNet-Lite2 with four linear heads, 224×224 pixels.

    python -m train recipe default --data data/ --output runs/default [--teacher CHECKPOINT]

Two networks are trained from ImageNet weights with different seeds at 160×160 and 192×192 pixels; their weights are
averaged and the heads trained again. About seven hours on two cores without a GPU. The metrics are in
fashion_model/default_checkpoint/README.md.

The embedded default learned from a teacher, an older checkpoint that is not published. To have one, run the recipe
without a teacher first and with the result as the teacher then. Of the default's two networks one was trained for eight
epochs of 40,000 views, the other for five epochs on a GPU in batches of 128 and two epochs with these settings; this
sequence has not been run as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.recipes.step import Step, shared_options

if TYPE_CHECKING:
    from train.recipes.command import Config

BACKBONE = "tf_efficientnet_lite2"
SEEDS = (0, 1)


def steps(config: Config) -> list[Step]:
    """The commands in their order."""
    output = config.output
    checkpoint, mean, soft = output / "checkpoint", output / "mean", output / "soft_targets.safetensors"
    found, shared = [], shared_options(config)
    fit = ["fit", *shared, "--backbone", config.backbone or BACKBONE, "--frozen-stages", "2", "--resume"]
    if config.attributes:
        fit += ["--attributes", *config.attributes]
    if config.smoke:
        fit.append("--smoke")
    if config.teacher:
        command = ("soft-targets", "--checkpoint", str(config.teacher), *shared, "--output", str(soft))
        found.append(Step(command, 12, soft))
        fit += ["--soft-targets", str(soft)]
    networks = [output / f"seed{seed}" for seed in SEEDS]
    for seed, network in zip(SEEDS, networks, strict=True):
        settings = (
            f"--output {network} --seed {seed} --weights {config.weights} --linear-probe-steps 200 --epochs 7 "
            "--small-image-size 160 160 --small-epochs 2 --imagenet-distillation-weight 0.3"
        )
        found.append(Step((*fit, *settings.split()), 180, network / "training" / "fit.json"))
    soup = ("soup", "--checkpoints", *map(str, networks), "--output", str(mean))
    found.append(Step(soup, 1, mean / "label_encoders.json"))
    heads = f"--output {checkpoint} --weights {mean} --epochs 0 --linear-probe-steps 500 --learning-rate 1e-4"
    heads_fit = (*fit, *heads.split(), "--batch-size", "64")
    found.append(Step(heads_fit, 15, checkpoint / "training" / "fit.json"))
    measure = ("--checkpoint", str(checkpoint), *shared)
    side = "72" if config.smoke else "224"
    return [
        *found,
        Step(("calibrate", *measure, "--image-size", side, side), 3),
        Step(("evaluate", *measure), 6),
        Step(("report", *measure), 1),
    ]
