"""From the words that were typed to runs that are finished: what several subcommands share."""
