"""`rapidfire`, and `python -m rapidfire_cli`."""


def main() -> None:
    """Run the command line; an interruption is no error, however early it comes."""
    try:
        from rapidfire_cli import cli

        cli.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # 128 + SIGINT


if __name__ == "__main__":
    main()
