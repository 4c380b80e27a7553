"""The scripts that connect shells with `rapidfire __complete`."""

from typing import Literal, TypeAlias

Shell: TypeAlias = Literal["bash", "zsh", "fish"]

SCRIPTS: dict[Shell, str] = {
    "bash": r"""
_rapidfire() {
    local IFS=$'\n' reply
    reply=$("$1" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    (($? == 1)) && compopt -o default
    COMPREPLY=($reply)
    [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F _rapidfire rapidfire
""",
    "zsh": r"""
#compdef rapidfire
_rapidfire() {
    local reply line text
    local -a texts shown
    reply=$("${words[1]}" __complete zsh "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
    local -i code=$?
    for line in "${(@f)reply}"; do
        text=${line%%$'\t'*}
        [[ -n $text ]] || continue
        texts+=("$text")
        [[ $text == ${line%$'\t'} ]] && shown+=("$text") || shown+=("$text  -- ${line#*$'\t'}")
    done
    if (($#texts)); then
        if [[ $texts[1] == *= ]]; then
            compadd -V words -S '' -l -d shown -a texts
        else
            compadd -V words -l -d shown -a texts
        fi
    fi
    ((code == 1)) && _files
    return 0
}
if [[ $funcstack[1] == _rapidfire ]]; then
    _rapidfire "$@"
else
    compdef _rapidfire rapidfire
fi
""",
    "fish": r"""
function __rapidfire_complete
    set -l typed (commandline -opc) (commandline -ct)
    $typed[1] __complete fish $typed[2..] 2>/dev/null
    test $status -eq 1; and __fish_complete_path (commandline -ct)
end
complete -c rapidfire -e
complete -c rapidfire -k -f -a '(__rapidfire_complete)'
""",
}
"""What each shell has to run once; exit code 1 of `__complete` adds the names of files."""
