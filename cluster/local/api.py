"""Asking a local Ray over HTTP, past any proxy that the environment names."""

import urllib.error
import urllib.request


def answers(url: str, token: str) -> bool:
    """Say whether a URL answers 200 to a token within two seconds."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
