"""The command ``unitrack``, also as ``python -m unitrack``."""

import sys


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        # Late, because click and rich come with an extra.
        from .cli.app import cli
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write("The command line needs two more packages: pip install 'unitrack-sdk[cli]'\n")
        sys.exit(2)
    cli(prog_name="unitrack")


if __name__ == "__main__":
    main()
