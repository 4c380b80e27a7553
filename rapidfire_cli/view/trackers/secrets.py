"""Redact secrets before they are logged: knobs that are named like secrets, and credentials in URLs."""

import re

from rapidfire_cli.terms import Plain

REDACTED = "<redacted>"

_NAMES = r"(passwords?|passwd|passphrase|secrets?|token|credentials?|(api|access|private|secret)[_-]?keys?)"

_KEY = re.compile(rf"(^|[._-]){_NAMES}$", re.IGNORECASE)
"""The keys that seem to hold a secret: `hf_token` and `apikey`, but not `max_tokens`."""

_USER = re.compile(r"((?<=http://)|(?<=https://))[^/?#\s]+@|(?<=://)[^/?#\s:]*:[^/?#\s]+@", re.IGNORECASE)
"""The user in a URL: `user:password@`, and for HTTP also one without a password, which may be a token."""

_PARAMETER = re.compile(rf"([?&]([\w.-]*[._-])?{_NAMES}=)[^&#\s]+", re.IGNORECASE)
"""A parameter of a URL that is named like a secret: `?api_key=…`."""


def is_secret(key: str) -> bool:
    """Whether a key is named like a secret."""
    return bool(_KEY.search(key))


def without_credentials(text: str) -> str:
    """The text with the credentials in its URLs redacted."""
    return _PARAMETER.sub(rf"\g<1>{REDACTED}", _USER.sub(f"{REDACTED}@", text))


def redacted(value: Plain, secret: bool) -> Plain:
    """A knob's value for trackers; every text in it is redacted as a whole if it is `secret`."""
    match value:
        case str():
            return REDACTED if secret else without_credentials(value)
        case list():
            return [redacted(each, secret) for each in value]
        case _:
            return value
