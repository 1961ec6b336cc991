"""`python -m gatepost`."""

import sys

if __name__ == "__main__":
    try:
        from gatepost.cli import main  # half a second of imports, in which Ctrl-C is as likely as later

        main()
    except KeyboardInterrupt:
        sys.exit(130)
