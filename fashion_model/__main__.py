"""Label photographs from the command line.

python -m fashion_model predict photographs/ --output results.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fashion_model.console import ended_by_ctrl_c, exit_with, show_all_characters


def main(arguments: list[str] | None = None) -> int:
    show_all_characters()
    parser = argparse.ArgumentParser(prog="python -m fashion_model", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="predict")
    command = commands.add_parser("predict", help="label photographs: one row each")
    command.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER", help="folders are read recursively")
    command.add_argument(
        "--checkpoint", metavar="REPO_OR_DIR", help="user/repo[@revision] or a directory; the embedded default"
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write the rows: .csv, .jsonl (JSON Lines) or .parquet; without it CSV on standard output",
    )
    command.add_argument(
        "--resume", action="store_true", help="keep the rows that the output holds already, and add those missing"
    )
    command.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="also write overlays there, NAME.DIGEST.ATTRIBUTE.png; it is not read itself",
    )
    command.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: with Ray Data, on this machine or the cluster of RAY_ADDRESS, to a folder of Parquet files; the "
        "photographs may then also be an address such as s3://bucket/folder, or Parquet files with images",
    )
    command.add_argument("--workers", type=int, default=1, metavar="N", help="of Ray; each has a network of its own")
    options = parser.parse_args(arguments)
    if options.resume and not options.output:
        command.error("--resume needs an --output to go on with")
    if options.engine == "ray" and (not options.output or options.resume or options.heatmaps or options.workers < 1):
        command.error("--engine ray needs an --output, at least one worker, and neither --resume nor --heatmaps")
    with ended_by_ctrl_c():
        from fashion_model.batch import predict  # PyTorch takes seconds

    return predict(options)


if __name__ == "__main__":
    exit_with(main)
