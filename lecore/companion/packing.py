"""How a chapter's kernel packs its messages: as Jupyter does, lone surrogates escaped."""

import json
from typing import Any

from jupyter_client.jsonutil import json_clean, json_default
from jupyter_client.session import json_packer


def pack(message: Any) -> bytes:
    """A message as JSON; Jupyter alone drops one whose text cannot be encoded, with tracebacks."""
    try:
        packed: bytes = json_packer(message)
    except UnicodeEncodeError:
        packed = json.dumps(json_clean(message), default=json_default, allow_nan=False).encode()
    return packed
