"""Values as text: numbers of things in words, anything as JSON."""


def counted(count: int, noun: str) -> str:
    """`count` and what is counted: "1 job", "2 jobs"; for nouns whose plural is an s more."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def json_bytes(value: object) -> bytes:
    """`value` as JSON in UTF-8.

    Of a name that is no UTF-8, such as a folder's from another system, the bytes at fault become question marks, as
    JSON cannot hold them.
    """
    import msgspec  # late: `--help` needs none

    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_text_only(msgspec.to_builtins(value, enc_hook=str)))


def _text_only(value: object) -> object:
    if isinstance(value, dict):
        return {_text_only(name): _text_only(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_text_only(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
