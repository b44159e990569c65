"""Numbers of things in words."""


def counted(count: int, noun: str) -> str:
    """`count` and what is counted: "1 job", "2 jobs"; for nouns whose plural is an s more."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
