"""`python -m prune_cli`: the same as `prune-cli`."""

from prune_cli.cli import main

if __name__ == "__main__":
    main()
