"""The verbs that come before training: init, validate, schema, list, preview."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from declarlm.cli import options
from declarlm.cli.output import print_json, print_layers, print_plugins, say
from declarlm.cli.work import go_offline, make_model


def init(
    data: Annotated[str, typer.Option("--from", help="File, glob or hf:// address of the rows.")],
    target: Annotated[str, typer.Option("--target", help="Column to predict.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout by default.")] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="Tune this language model: an id, a folder or 'starter'.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Write a first config for a data file, with comments."""
    go_offline(offline)
    from declarlm.core.files import write_text
    from declarlm.core.strict_yaml import parse_yaml
    from declarlm.data.tables import read_table
    from declarlm.planning.init import first_config

    if output is not None and output.exists():
        raise typer.BadParameter(f"{output} exists; choose another file", param_hint="--output")
    text = first_config(read_table(data), target, source=data, base_model=base_model)
    if output is not None:
        write_text(output, text)
        if not quiet:
            say(f"{output} is written; next: declarlm train -c {output} --dataset {data}")
    if as_json:
        print_json(parse_yaml(text).data)
    elif output is None:
        sys.stdout.write(text)


def validate(
    config: options.Config,
    set_: options.Set = None,
    seed: options.Seed = None,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check a config and name everything that is wrong."""
    from declarlm.config import ModelConfig, read_config
    from declarlm.core.device import check_device

    document = read_config(config, options.changes(set_, seed=seed))
    loaded = ModelConfig.load(document.data, source=document, problems=document.problems)
    check_device(device)
    for note in () if quiet else document.notes:
        say(f"{config}: {note}")
    if as_json:
        print_json(loaded.dump())
    else:
        print(f"{config} is valid: model_type {loaded.model_type}, trainer.type {loaded.trainer.type}")


def import_config(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Config of another tool.", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout by default.")] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a config of Ludwig, Axolotl or LLaMA-Factory anew."""
    from declarlm.compat.importing import import_config as read
    from declarlm.config import load_config
    from declarlm.core.files import write_text
    from declarlm.core.strict_yaml import read_yaml
    from declarlm.core.yaml_text import yaml_text

    if output is not None and output.exists():
        raise typer.BadParameter(f"{output} exists; choose another file", param_hint="--output")
    found = read(read_yaml(source))
    text = f"# From {source.name}, a config of {found.tool}.\n{yaml_text(found.data)}"
    for note in () if quiet else found.notes:
        say(f"{source}: {note}")
    if output is not None:
        write_text(output, text)
    if as_json:
        print_json({"tool": found.tool, "config": found.data, "notes": list(found.notes)})
    elif output is None:
        sys.stdout.write(text)
    sys.stdout.flush()
    load_config(found.data)  # what is wrong with it is said, and there to be mended


def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from declarlm.config import config_schema

    print_json(config_schema())


def list_plugins(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="One kind, such as encoders; all by default.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="A base model: with adapters, what each would train; with modules, its layers."),
    ] = None,
    as_json: options.Json = False,
    offline: options.Offline = False,
) -> None:
    """List what a config can name: encoders, adapters, ..."""
    from inspect import getdoc

    from declarlm.config import REGISTRIES
    from declarlm.core.errors import choose_from

    go_offline(offline)
    if base is not None or kind == "modules":
        _list_of_base(kind, base, as_json=as_json)
        return
    if kind is not None and kind not in REGISTRIES:
        raise typer.BadParameter(f"no kind is named {choose_from(kind, REGISTRIES)}", param_hint="KIND")
    chosen = REGISTRIES if kind is None else {kind: REGISTRIES[kind]}
    found = {
        name: {plugin: _summary(getdoc(registry[plugin]) or "") for plugin in registry}
        for name, registry in chosen.items()
    }
    if as_json:
        print_json(found)
    else:
        print_plugins(found)


def _list_of_base(kind: str | None, base: str | None, *, as_json: bool) -> None:
    """Print what adapters would train of a base, or the layers that they can be put into."""
    if base is None:
        raise typer.BadParameter("is needed: declarlm list modules --base NAME", param_hint="--base")
    if kind not in ("adapters", "modules"):
        raise typer.BadParameter("write declarlm list adapters --base NAME, or list modules", param_hint="KIND")
    from dataclasses import asdict

    from declarlm.planning.base_layers import layers_of_base, weights_by_adapter

    if kind == "modules":
        layers = [asdict(one) for one in layers_of_base(base)]
        print_json({"modules": layers}) if as_json else print_layers(base, layers)
        return
    found = weights_by_adapter(base)
    if as_json:
        shown = {name: {"refused": one} if isinstance(one, str) else one.dump() for name, one in found.items()}
        print_json({"adapters": shown})
    else:
        print_plugins(
            {f"adapters on {base}": {name: getattr(one, "sentence", f"no: {one}") for name, one in found.items()}}
        )


def _summary(doc: str) -> str:
    """Return the first line of a docstring without its markup and its source."""
    return doc.split("\n")[0].split(" Source: ")[0].replace("``", "")


def preview(
    config: options.Config,
    dataset: options.Dataset,
    rows: Annotated[int, typer.Option("--rows", "-n", help="Rows to show.", min=1)] = 3,
    tokens: Annotated[bool, typer.Option("--tokens", help="Mark where one token ends and the next begins.")] = False,
    set_: options.Set = None,
    seed: options.Seed = None,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Show prompts, their tokens, and what is learned."""
    go_offline(offline)
    model = make_model(config, options.changes(set_, seed=seed), device=device, quiet=quiet)
    previews = model.preview(dataset, rows=rows)
    from declarlm.planning.preview import show

    if as_json:
        print_json([preview.dump() for preview in previews])
    else:
        show(previews, by_token=tokens)
