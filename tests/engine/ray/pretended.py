"""A bridge without Ray: its workers say what the test writes into a file, line by line."""

import select
import socket
import sys
from pathlib import Path

from rapidfire_cli.engine.local.channel import Channel
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.ray.wire import Connected, Joined, line


def main() -> None:
    says, hears = map(Path, sys.argv[1:3])
    connection = socket.socket(fileno=int(sys.argv[3]))
    channel = Channel(connection)
    slots = tuple(Slot(index, "cpu", "", 0.5, host="node") for index in range(2))
    for each in (line(Joined(slots, 1)), line(Connected())):
        channel.put(each + b"\n")
    channel.push()
    said = 0
    while True:
        if select.select([connection], [], [], 0.02)[0]:
            try:
                lines = channel.pull() or []
            except OSError:
                return
            with hears.open("ab") as file:
                file.writelines(each + b"\n" for each in lines)
        script = says.read_bytes() if says.exists() else b""
        channel.put(script[said:])
        channel.push()
        said = len(script)


if __name__ == "__main__":
    main()
