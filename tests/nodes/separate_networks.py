"""Separate networks for nodes on one machine: namespaces on a bridge, each of which can be cut off from it.

The bridge is in its own namespace as well, so that this machine's network is not changed.
"""

from __future__ import annotations

import secrets
import subprocess

from ray_nodes import Place


class Networks:
    """Places that reach each other by their addresses.

    Raises:
        PermissionError: this process may not make network namespaces.
    """

    def __init__(self) -> None:
        self._hub = f"c{secrets.token_hex(3)}"  # names of interfaces have 15 characters at most
        self._made: list[str] = []
        try:
            self._namespace(self._hub)
            self._on(self._hub, "link", "add", "bridge", "type", "bridge")
            self._on(self._hub, "link", "set", "bridge", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.end()
            told = getattr(error, "stderr", None) or str(error)
            raise PermissionError(f"no network namespaces here: {told.strip()}") from error

    def place(self) -> Place:
        """Make another place."""
        number = len(self._made)
        # An address from the range that is reserved for benchmarks (RFC 2544).
        name, address = f"{self._hub}-{number}", f"198.18.0.{number}"
        self._namespace(name)
        self._on(self._hub, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        self._on(self._hub, "link", "set", f"to-{name}", "master", "bridge", "up")
        self._on(name, "addr", "add", f"{address}/24", "dev", "eth0")
        self._on(name, "link", "set", "eth0", "up")
        return Place(address, ("ip", "netns", "exec", name))

    def cut_off(self, place: Place) -> None:
        """Disconnect a place from the others; no connection gets an error, as if a cable were pulled."""
        self._on(self._hub, "link", "set", f"to-{place.inside[-1]}", "nomaster")

    def end(self) -> None:
        """Remove all namespaces."""
        for name in reversed(self._made):
            _ip("netns", "delete", name)
        self._made.clear()

    def _namespace(self, name: str) -> None:
        _ip("netns", "add", name)
        self._made.append(name)
        self._on(name, "link", "set", "lo", "up")

    def _on(self, name: str, *command: str) -> None:
        _ip("-netns", name, *command)


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
