"""`rapidfire`, and `python -m rapidfire_cli`."""

import sys


def main() -> None:
    """Run the command line; an interruption is no error, however early it comes."""
    try:
        if sys.argv[1:2] == ["__complete"]:  # which a shell asks at every Tab
            from rapidfire_cli.app.completion.answering import answer

            raise SystemExit(answer(*sys.argv[2:]))
        from rapidfire_cli import cli

        cli.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # 128 + SIGINT


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # `python -m` puts the working directory there, where modules would shadow others
    main()
