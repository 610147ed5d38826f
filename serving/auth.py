"""Tokens: who may use an endpoint.

tokens = read_tokens(config.auth)              # from a file and from MANTA_TOKENS
holder = tokens.holder("Bearer s3cret")        # eight digits that stand for the token, or None

Only digests leave the process that reads the tokens; they are compared in constant time, all of them.
"""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

from lib.config.paths import input_path
from lib.config.serving import AuthSection
from lib.errors import UserError

VARIABLE = "MANTA_TOKENS"
CHALLENGE = 'Bearer realm="manta", Basic realm="manta"'


@dataclass(frozen=True)
class Tokens:
    """SHA-256 digests of the tokens that are let in; none stands for an endpoint that is open."""

    digests: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.digests)

    def holder(self, authorization: str) -> str | None:
        """Return what stands for a token in the log, or None if no right one is in the header.

        It is `Bearer TOKEN`, or what a browser asks for: `Basic`, with the token as the password.
        """
        given = hashlib.sha256(_token(authorization)).digest()
        known = [hmac.compare_digest(given, digest) for digest in self.digests]
        return given.hex()[:8] if any(known) else None


def read_tokens(auth: AuthSection) -> Tokens:
    """Read the tokens of an endpoint; raises `UserError` for a file or a variable without a usable one."""
    found: list[str] = []
    if auth.token_file is not None:
        path = input_path(auth.token_file)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UserError(
                f"auth.token_file={path}: {reason}", "give a file with one token a line"
            ) from None
        found += _check(text, f"auth.token_file={path}")
    if VARIABLE in os.environ:
        found += _check(os.environ[VARIABLE], VARIABLE)
    return Tokens(tuple(dict.fromkeys(hashlib.sha256(token.encode()).digest() for token in found)))


def _check(text: str, where: str) -> list[str]:
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens:
        raise UserError(f"{where} holds no token", "give one a line: openssl rand -hex 32")
    for number, token in enumerate(tokens, 1):
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UserError(
                f"{where}: token {number} has characters that no header takes", "use A-Z a-z 0-9 - . _"
            )
    return tokens


def _token(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""
