"""`studio train pretrain|midtrain|sft`: one stage by itself, in the foreground."""

from __future__ import annotations

import argparse
import sys

from studio.commands.output import Commands, add_overrides, group, show, verb

EXAMPLES = {
    "pretrain": ("train new weights on text", "studio train pretrain model=mini optim.learning_rate=1e-3"),
    "midtrain": (
        "go on with a model on other text",
        "studio train midtrain train.model_name=latest corpus.path=books/",
    ),
    "sft": ("fine-tune a model on conversations", "studio train sft train.model_name=latest sft_data.path=chats.jsonl"),
}


def add_parser(commands: Commands) -> None:
    actions = group(commands, "train", summary="run one training stage", example=EXAMPLES["pretrain"][1])
    for stage, (summary, example) in EXAMPLES.items():
        parser = verb(actions, stage, summary=summary, example=example, run=_run)
        add_overrides(parser)
        parser.set_defaults(stage=stage)


def _run(arguments: argparse.Namespace) -> int:
    from studio.commands.progress import follow
    from studio.core.stopping import StopFlag, install_signals
    from studio.services.studio import open_studio

    service = open_studio().training
    run_id = service.start(arguments.stage, arguments.overrides)
    stop = StopFlag()
    install_signals(stop)
    if not arguments.json:
        print(f"training {run_id}")
    follow(service, run_id, stop=stop, quiet=arguments.json)
    if stop.is_set() and service.running(run_id):
        print("stopping: the run saves what it has; start it again to go on", file=sys.stderr)
        service.cancel(run_id)
    outcome = service.outcome(run_id)
    report = outcome["report"]
    lines = [
        f"{arguments.stage}: {report['steps']:,} steps, {report['tokens_per_second']:,.0f} tokens/s,"
        f" best validation loss {report['best_val_loss']}",
        f"model: {outcome['model']}",
        f"next: studio chat {outcome['model']}",
    ]
    show(arguments, {"id": run_id, **outcome}, lines)
    return 0
