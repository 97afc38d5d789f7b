"""Tell by a short text whether two configurations, or parts of them, are equal."""

import hashlib
import json
from typing import Any


def fingerprint_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
