"""Numbers of things, as people write them. Pure."""


def counted(number: int, noun: str) -> str:
    """Return "1 mail", "2 mails": for nouns that take an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
