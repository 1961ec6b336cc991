"""`python -m gatepost`, and the `gatepost` command."""

import sys


def main() -> None:
    """Ctrl-C is as likely in the half second of imports as later: it ends quietly then, too."""
    try:
        from gatepost.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
