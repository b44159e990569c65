"""`venice-batch completion`: the script by which a shell completes, and the answers that it asks for."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, ZshComplete, add_completion_class, shell_complete, split_arg_string

from venice_batch.cli.command import command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_VENICE_BATCH_COMPLETE"
"""By which a script asks for an answer."""

SHELLS = ("bash", "zsh", "fish")


@command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the script that makes SHELL complete commands, options, files and models.

    \b
    bash: eval "$(venice-batch completion bash)"         in ~/.bashrc
    zsh:  eval "$(venice-batch completion zsh)"          in ~/.zshrc, after compinit
    fish: venice-batch completion fish | source          in ~/.config/fish/config.fish
    """
    return answer(f"{shell}_source")


def answer(instruction: str) -> int:
    """Print what a script asks for, `<shell>_complete`, or the script itself, `<shell>_source`."""
    from venice_batch.cli.commands import cli

    return shell_complete(cli, {}, "venice-batch", VARIABLE, instruction)


class Bash(BashComplete):
    """Click's own, but that files stand beside words, and that `model=…` is completed though bash splits it at "="."""

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
        # What stands before bash's own word is on the command line already.
        self._before = incomplete.removesuffix(word) if incomplete.endswith(word) else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type != "plain":
            return f"{item.type},"
        value = str(item.value).removeprefix(self._before)
        return "plain," + re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", value)


class Zsh(ZshComplete):
    """Click's own, but that files stand beside words, and that no space follows `model=`."""

    source_template = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a replies plain described
    local kind value help
    replies=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete ${words[1]})}")
    for kind value help in "${replies[@]}"; do
        case $kind in
            file) _files ;;
            dir) _files -/ ;;
            plain)
                if [[ $value == *= ]]; then
                    compadd -S '' -- "$value"
                elif [[ $help == _ ]]; then
                    plain+=("$value")
                else
                    described+=("$value:$help")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V command described
    (( $#plain )) && compadd -V words -a plain
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


add_completion_class(Bash)
add_completion_class(Zsh)
