"""The command `trimtab serve`: options to `ServeSettings`, errors to one sentence.

In: the command line. Out: this process becomes vLLM, or exit code 2. Must never know: how vLLM is started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving import launch
from serving.errors import InvalidInput

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    model: Annotated[Path, typer.Option(help="Folder of the base model (Hugging Face form).")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    name: Annotated[str, typer.Option(help="Name under which the bare base model is served.")] = "base",
    max_loras: Annotated[int, typer.Option(min=1, help="Adapters that one batch may mix.")] = 4,
    max_lora_rank: Annotated[int, typer.Option(min=1, help="Highest rank of an adapter.")] = 16,
    max_model_len: Annotated[int, typer.Option(min=1, help="Longest prompt and answer together, in tokens.")] = 1024,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 16,
    cpu: Annotated[bool, typer.Option("--cpu/--gpu", help="Settings that suit the CPU or the GPU build.")] = True,
    socket: Annotated[
        str, typer.Option(envvar="TRIMTAB_SOCKET", help="Unix socket of the agent; empty: capture nothing.")
    ] = ".trimtab/agent.sock",
    token: Annotated[
        str, typer.Option(envvar="TRIMTAB_TOKEN", help="Secret that opens the admin paths; empty: closed to all.")
    ] = "",
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- VLLM OPTIONS]", help="Passed on to vLLM as they stand.")
    ] = None,
) -> None:
    """Start vLLM with Trimtab inside: guarded admin paths, aliases, and capture for the agent."""
    try:
        launch.main(
            launch.ServeSettings(
                model=model, host=host, port=port, name=name, max_loras=max_loras, max_lora_rank=max_lora_rank,
                max_model_len=max_model_len, max_num_seqs=max_num_seqs, cpu=cpu, socket=socket, token=token,
                extra=tuple(extra or ()),
            )
        )  # fmt: skip
    except InvalidInput as why:
        typer.echo(f"trimtab serve: {why}", err=True)
        raise typer.Exit(2) from why
