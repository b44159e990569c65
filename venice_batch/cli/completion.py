"""`venice-batch completion`: print a shell's completion script, and answer its requests."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, add_completion_class, shell_complete, split_arg_string

from venice_batch.cli.commands import command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_VENICE_BATCH_COMPLETE"
"""The variable that holds a script's request."""


@command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that makes SHELL complete commands, options, files and models.

    \b
    bash: eval "$(venice-batch completion bash)"         in ~/.bashrc
    zsh:  eval "$(venice-batch completion zsh)"          in ~/.zshrc, after compinit
    fish: venice-batch completion fish | source          in ~/.config/fish/config.fish
    """
    return answer(ctx.find_root().command, f"{shell}_source")


def answer(cli: click.Command, instruction: str) -> int:
    """Print what a script asks for, `<shell>_complete`, or the script itself, `<shell>_source`."""
    return shell_complete(cli, {}, "venice-batch", VARIABLE, instruction)


class Bash(BashComplete):
    """Bash completion with what click's own lacks: files beside words, and `model=…`, which bash splits at "="."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' reply kind value
    COMPREPLY=()
    while read -r reply; do
        kind=${reply%%%%,*}
        value=${reply#*,}
        if [[ $kind == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value == *= ]] && compopt -o nospace
        elif [[ $kind == dir || $kind == file ]]; then
            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -A ${kind/dir/directory} -- "$2")
            # Readline itself quotes, marks folders and, where nothing was found, knows ~ and quotes.
            compopt -o filenames -o default
        fi
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        line, word = os.environ["COMP_LINE"], os.environ["COMP_WORD"]
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() else words.pop()
        # The part in front of bash's own word is already on the command line.
        self._before = incomplete.removesuffix(word) if incomplete.endswith(word) else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type != "plain":
            return f"{item.type},"
        value = str(item.value).removeprefix(self._before)
        return "plain," + re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", value)


add_completion_class(Bash)
